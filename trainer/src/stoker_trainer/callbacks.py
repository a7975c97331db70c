"""What happens around each training step: report it, obey orders, stop on numbers that are none."""

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.sft_trainer import SFTTrainer
from typing_extensions import override

from stoker_trainer.checkpoints import seal_checkpoint
from stoker_trainer.errors import NonFiniteLoss
from stoker_trainer.machine import Machine
from stoker_trainer.report import Control, Progress, Report, Values
from stoker_trainer.signals import TerminationWatch

REPORTED = ("loss", "eval_loss", "learning_rate", "grad_norm", "epoch", "mean_token_accuracy")
"""Names of TRL's log that are passed on as they are."""

PACE_WINDOW_STEPS = 20
"""Seconds left and tokens per second come from this many last steps."""


class GuardedTrainer(SFTTrainer):
    """SFTTrainer that stops before a loss that is not a number reaches the weights.

    TRL already fetches a value of each micro-batch from the GPU, so the look costs nothing more.
    """

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch. Raises NonFiniteLoss."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # type: ignore[no-untyped-call]
        if not torch.isfinite(loss):
            raise NonFiniteLoss(what="the loss", step=self.state.global_step + 1)
        return loss


class ReportCallback(TrainerCallback):
    """Sends the numbers of each logged step and keeps the heartbeat's progress up to date."""

    def __init__(
        self, report: Report, *, machine: Machine | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._machine = machine
        self._clock = clock
        self._steps: deque[tuple[float, int, int]] = deque(maxlen=PACE_WINDOW_STEPS + 1)

    @override
    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Start the pace from here: after a resume the earlier steps were another process's."""
        self._steps.append((self._clock(), state.global_step, state.num_input_tokens_seen))
        self._report.progress(Progress(step=state.global_step, total_steps=state.max_steps))

    @override
    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Update the progress that the next heartbeat carries."""
        self._steps.append((self._clock(), state.global_step, state.num_input_tokens_seen))
        self._report.progress(self._progress(state))

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Report a training step. The summary at the end of training has no loss and is not a step."""
        if not logs or "loss" not in logs:
            return
        progress = self._progress(state)
        values: Values = {name: logs.get(name) for name in REPORTED if name in logs}
        values |= {
            # TRL's own num_tokens starts again at 0 after a resume.
            "num_tokens": float(state.num_input_tokens_seen),
            "tokens_per_second": progress.tokens_per_second,
            "seconds_left": progress.seconds_left,
            "progress": state.global_step / max(state.max_steps, 1),
            **(self._machine.values() if self._machine else {}),
        }
        self._report.metrics(step=state.global_step, values={name: _finite(value) for name, value in values.items()})
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise NonFiniteLoss(what="the loss" if name == "loss" else "the gradient", step=state.global_step)

    def _progress(self, state: TrainerState) -> Progress:
        (first_at, first_step, first_tokens), (last_at, last_step, last_tokens) = self._steps[0], self._steps[-1]
        seconds, steps = last_at - first_at, last_step - first_step
        if steps == 0 or seconds <= 0:
            return Progress(step=state.global_step, total_steps=state.max_steps)
        return Progress(
            step=state.global_step,
            total_steps=state.max_steps,
            seconds_left=(state.max_steps - state.global_step) * seconds / steps,
            tokens_per_second=(last_tokens - first_tokens) / seconds,
        )


class ControlCallback(TrainerCallback):
    """Obeys the control plane and SIGTERM between steps, and seals checkpoints.

    `stopped_by` holds the order that ended training early, if one did. `on_checkpoint` gets each sealed folder; it may
    neither raise nor take its time.
    """

    def __init__(
        self,
        report: Report,
        *,
        watch: TerminationWatch,
        fingerprint: str,
        on_checkpoint: Callable[[Path], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._clock = clock
        self._step_began: float | None = None
        self._step_ended: float | None = None
        self._watch = watch
        self._fingerprint = fingerprint
        self._on_checkpoint = on_checkpoint
        self._obeyed: Control | None = None
        self.stopped_by: Control | None = None
        self.saved_step: int | None = None

    @override
    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Measure steps: an order to land is obeyed after the one that is under way."""
        self._step_began = self._clock()

    @override
    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Look for orders. Raises TokenRejected."""
        self._step_ended = self._clock()
        if self._step_began is not None:
            self._report.took("step", self._step_ended - self._step_began)
        order = self._report.control()
        if self._watch.is_requested:
            control.should_save = control.should_training_stop = True
        elif order.action in {"stop", "land"}:
            self.stopped_by = order
            control.should_save = control.should_training_stop = True
        elif order.action == "checkpoint" and order != self._obeyed:
            # The order stays in every answer until the control plane withdraws it: one checkpoint for each.
            control.should_save = True
        self._obeyed = order
        # Logged before it is saved, so that a checkpoint never holds a step whose numbers were not looked at.
        control.should_log = control.should_log or control.should_save

    @override
    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Seal what was just written, so that a later resume can trust it."""
        checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        seal_checkpoint(checkpoint, fingerprint=self._fingerprint)
        if self._step_ended is not None:
            self._report.took("save", self._clock() - self._step_ended)
        self.saved_step = state.global_step
        self._report.log(f"checkpoint saved at step {state.global_step}")
        if self._on_checkpoint is not None:
            self._on_checkpoint(checkpoint)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
