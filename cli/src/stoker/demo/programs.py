"""Programs that the demo runs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from stoker.demo.errors import ProgramFailed

LAST_LINES = 15


def run_program(command: Sequence[str], *, what: str, log_file: Path, timeout: float, next_step: str) -> str:
    """Run a program to its end and return its standard output; standard error goes to the log file.

    Raises:
        ProgramFailed: it ended with another status than 0, or took longer than `timeout` seconds.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("w", encoding="utf-8") as log:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ProgramFailed(what, exit_code=None, last_lines=last_lines(log_file), next_step=next_step) from error
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        said = last_lines(log_file) or output[-2000:]
        raise ProgramFailed(what, exit_code=done.returncode, last_lines=said, next_step=next_step)
    return output


def last_lines(file: Path, count: int = LAST_LINES) -> str:
    """The end of a text file, empty if there is none."""
    if not file.exists():
        return ""
    return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
