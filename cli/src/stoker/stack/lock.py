"""One supervisor per data folder. The kernel drops the lock when the process ends, however it ends."""

import fcntl
import os
from pathlib import Path

from stoker.stack.errors import DataFolderBusy


class FolderLock:
    """An exclusive lock on a data folder, held until `release` or the end of the process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            DataFolderBusy: another process has it; names its pid.
        """
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise DataFolderBusy(self._file.parent, _written_pid(self._file)) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes hold two locks."""
        if self._descriptor is None:
            return
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = None


def lock_holder(file: Path) -> int | None:
    """The pid of the supervisor that holds the lock, 0 if it is held by an unknown one, None if it is free."""
    if not file.exists():
        return None
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written_pid(file) or 0
    finally:
        os.close(descriptor)
    return None


def _written_pid(file: Path) -> int | None:
    text = file.read_text().strip()
    return int(text) if text.isdigit() else None
