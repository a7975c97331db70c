"""The whole system as a child process of the demo."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import psutil

from stoker.demo.errors import ProcessesLeft, ProgramFailed
from stoker.demo.programs import last_lines

READY_TIMEOUT = 600.0
STOP_TIMEOUT = 120.0
LOOK_EVERY = 0.2


class StackProcess:
    """`stoker up` on a data folder of its own, from `with` to the end of the block."""

    def __init__(
        self,
        data_dir: Path,
        *,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.data_dir = data_dir
        self._options = options
        self._environment = {**os.environ, **(environment or {})}
        self._sleep = sleep
        self.log_file = data_dir.with_name(f"{data_dir.name}.log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ProgramFailed: it did not become ready; nothing is left running.
        """
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "stoker.main", "up", "--data", str(self.data_dir), "--plain", *self._options]
        with self.log_file.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which then stops the stack in good order.
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_TIMEOUT
        while not _is_ready(self.data_dir / "stack.json", self._process.pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise self._not_ready()
            self._sleep(LOOK_EVERY)

    def stop(self) -> None:
        """Stop it and see that nothing is left.

        Raises:
            ProcessesLeft: something was; it has been killed.
        """
        process, self._process = self._process, None
        if process is None:
            return
        with _interrupts_handed_to(process):
            family = _family(process.pid)
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            left = _killed(family)
        if left:
            raise ProcessesLeft(left)

    def _not_ready(self) -> ProgramFailed:
        exit_code = self._process.poll() if self._process else None
        self.stop()
        return ProgramFailed(
            "The stack",
            exit_code=exit_code,
            last_lines=last_lines(self.log_file),
            next_step=f"Its output is in {self.log_file}, that of its services in {self.data_dir / 'logs'}.",
        )


def _is_ready(stack_file: Path, pid: int) -> bool:
    try:
        return bool(json.loads(stack_file.read_text(encoding="utf-8"))["pid"] == pid)
    except (OSError, ValueError, KeyError):
        return False  # not written yet, or left by a stack that was killed


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _killed(family: list[psutil.Process]) -> list[str]:
    names = []
    for member in family:
        with suppress(psutil.NoSuchProcess):
            if member.is_running() and member.status() != psutil.STATUS_ZOMBIE:
                names.append(" ".join(member.cmdline()[:4]) or member.name())
                member.kill()
    return names


@contextmanager
def _interrupts_handed_to(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """An impatient Ctrl-C must not leave the stack behind: it is told to hurry instead."""

    def hurry(_number: int, _frame: FrameType | None) -> None:
        process.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, hurry) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
