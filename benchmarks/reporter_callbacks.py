"""What the runs of `bench_reporter` hang into TRL's trainer: a stopwatch, and a gate in front of whoever is told."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from benchmarks.reporter_child import is_told


class Stopwatch(TrainerCallback):
    """From the beginning of one step, with all that is told of it, to that of the next."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []
        self._last: float | None = None

    @override
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A step begins where the last one was told."""
        now = time.perf_counter()
        if self._last is not None:
            self.steps.append((state.global_step, now - self._last))
        self._last = now


class Gate(TrainerCallback):
    """Lets another callback hear only of the steps that are told of."""

    def __init__(self, inner: TrainerCallback) -> None:
        self._inner = inner

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Once for all."""
        self._inner.on_train_begin(args, state, control, **kwargs)

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """After each step."""
        if is_told(state.global_step):
            self._inner.on_step_end(args, state, control, **kwargs)

    @override
    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """With each step's numbers."""
        if is_told(state.global_step):
            self._inner.on_log(args, state, control, **kwargs)


def put_gate(trainer: Any, name: str) -> None:
    """Put a gate in front of the trainer's own callback whose class has that name.

    Raises:
        LookupError: it has none.
    """
    callbacks = trainer.callback_handler.callbacks
    for place, callback in enumerate(callbacks):
        if type(callback).__name__ == name:
            callbacks[place] = Gate(callback)
            return
    raise LookupError(f"TRL's trainer has no callback {name}")
