"""The demo's stack as a child process: its end is seen to, whatever happens."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from stoker.demo.errors import ProcessesLeft, ProgramFailed
from stoker.demo.stack_process import StackProcess

SLOW_TO_STOP = """
import signal
count = 0
def on_interrupt(*_):
    global count
    count += 1
    print(count, flush=True)
    if count == 2:
        raise SystemExit(0)
signal.signal(signal.SIGINT, on_interrupt)
print("ready", flush=True)
while True:
    signal.pause()
"""

LEAVES_A_CHILD = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
while True:
    signal.pause()
"""


def started(code: str, tmp_path: Path) -> tuple[StackProcess, "subprocess.Popen[bytes]", str]:
    """A stack process whose program is this code, and its first line of output."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    first_line = process.stdout.readline().decode().strip()
    stack = StackProcess(tmp_path)
    stack._process = process
    return stack, process, first_line


def test_an_impatient_interrupt_goes_to_the_stack_and_its_end_is_awaited(tmp_path: Path) -> None:
    stack, process, first_line = started(SLOW_TO_STOP, tmp_path)
    assert first_line == "ready"
    handler = signal.getsignal(signal.SIGINT)

    def press_ctrl_c_again() -> None:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        os.kill(os.getpid(), signal.SIGINT)

    impatient = threading.Thread(target=press_ctrl_c_again)
    impatient.start()
    stack.stop()
    impatient.join(10)
    assert process.returncode == 0
    assert signal.getsignal(signal.SIGINT) == handler


def test_a_process_that_outlives_the_stack_is_killed_and_told(tmp_path: Path) -> None:
    stack, _process, child = started(LEAVES_A_CHILD, tmp_path)
    with pytest.raises(ProcessesLeft, match=r"time\.sleep\(600\)"):
        stack.stop()
    _gone, alive = psutil.wait_procs([psutil.Process(int(child))] if psutil.pid_exists(int(child)) else [], timeout=10)
    assert alive == []


def test_a_stack_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(ProgramFailed, match="cannot be used") as caught:
        StackProcess(tmp_path / "data").start()
    assert str(tmp_path / "data.log") in caught.value.next_step


def test_a_stack_that_was_never_started_needs_no_stop(tmp_path: Path) -> None:
    StackProcess(tmp_path).stop()
