"""`python -m stoker_trainer.server.runner FOLDER`: runs one machine's job and outlives the training server.

It claims the machine (a second runner of the same machine ends at once), copies the job's output to the log and
writes the exit code. On SIGTERM to the group only the job stops; the runner stays to write how it ended.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from stoker_trainer.files import read_json, write_json
from stoker_trainer.server.processes import start_time
from stoker_trainer.server.records import PRIVATE_FILE, claim_runner

INHERITED = ("PATH", "HOME", "LANG")


def main(folder: Path) -> int:
    """Run the job of a machine's folder to its end and return the job's exit code."""
    stop = threading.Event()
    # A handler and not SIG_IGN: ignoring is inherited, and the job must hear the signal.
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGINT, lambda _number, _frame: stop.set())
    me = os.getpid()
    if not claim_runner(folder, {"pid": me, "started": start_time(me)}):
        return 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with os.fdopen(os.open(folder / "log.txt", flags, PRIVATE_FILE), "ab") as log:
        exit_code = _run_job(folder, log=log.fileno(), stop=stop)
    values = {"exit_code": exit_code, "ended_at": time.time()}
    write_json(folder / "exit.json", values, mode=PRIVATE_FILE)
    return exit_code


def _run_job(folder: Path, *, log: int, stop: threading.Event) -> int:
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= read_json(folder / "env.json") or {}
    environment |= read_json(folder / "placement.json") or {}
    command = [sys.executable, "-u", "-m", "stoker_trainer.pod"]
    job = subprocess.Popen(
        command, cwd=folder / "workspace", env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    if stop.is_set():
        job.terminate()  # the signal to the group came before the job was part of it
    return job.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
