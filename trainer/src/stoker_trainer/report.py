"""What the training flow tells the outside, and what it may be told in return."""

from dataclasses import dataclass
from typing import Literal, Protocol

from stoker_trainer.landing import Part

Phase = Literal["preparing", "training", "saving"]
AlertLevel = Literal["warning", "error"]
Values = dict[str, float | None]


@dataclass(frozen=True)
class Progress:
    """Where the run is. Seconds and tokens per second are None until a step was measured."""

    step: int = 0
    total_steps: int = 0
    seconds_left: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class Control:
    """An order of the control plane. `deadline` is ISO 8601 or None.

    `land`: stop, store checkpoint and model, evaluate nothing more; the machine is taken away at the deadline.
    """

    action: Literal["continue", "checkpoint", "stop", "land"] = "continue"
    reason: str | None = None
    deadline: str | None = None


class Report(Protocol):
    """Where the flow reports to. No method may block the training loop."""

    def log(self, text: str) -> None:
        """Say one line."""

    def metrics(self, *, step: int, values: Values) -> None:
        """Record values of one step; None stands for a value that is not a number."""

    def phase(self, phase: Phase) -> None:
        """Enter a phase."""

    def progress(self, progress: Progress) -> None:
        """Note how far the run is; sent with the next heartbeat."""

    def took(self, part: Part, seconds: float) -> None:
        """Note what a part of landing takes on this machine; sent with the next heartbeat."""

    def alert(self, level: AlertLevel, code: str, message: str) -> None:
        """Tell a person something they should know."""

    def control(self) -> Control:
        """The newest order. Raises TokenRejected when the attempt's token was revoked."""
        ...


class ConsoleReport:
    """Prints; for runs by hand, without a control plane."""

    def log(self, text: str) -> None:
        """Print one line."""
        print(text, flush=True)  # noqa: T201 - the console is the product here

    def metrics(self, *, step: int, values: Values) -> None:
        """Print the numbers of a step."""
        shown = " ".join(f"{name}={value:.6g}" for name, value in values.items() if value is not None)
        self.log(f"step {step}: {shown}")

    def phase(self, phase: Phase) -> None:
        """Print the phase."""
        self.log(f"== {phase} ==")

    def progress(self, progress: Progress) -> None:
        """Nothing: the step's metrics already say it."""

    def took(self, part: Part, seconds: float) -> None:
        """Nothing: nobody orders a run by hand to land."""

    def alert(self, level: AlertLevel, code: str, message: str) -> None:
        """Print the alert."""
        self.log(f"{level} [{code}]: {message}")

    def control(self) -> Control:
        """Nobody gives orders here."""
        return Control()
