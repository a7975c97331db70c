"""A server as a process of its own."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

START_SECONDS = 180.0


@contextmanager
def running_process(
    command: Sequence[str | Path], folder: Path, *, ready: str, more: Mapping[str, str]
) -> Iterator[None]:
    """Until the block ends; entered when `ready` answers well."""
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        # A session of its own: workers end with their parent's group.
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **more}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _until_ready(process, ready, log_file)
        yield
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)


def _until_ready(process: "subprocess.Popen[bytes]", url: str, log_file: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url, timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} did not become ready:\n{log_file.read_text()[-3000:]}")
