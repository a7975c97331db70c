"""What telling the numbers of each step costs a training: our reporter, and TRL's own logging to trackio or MLflow.

The base line is the same training at the same time: blocks of 20 steps are told of and not told of in turn, and the
first steps of a block, in which the block before may still be on its way, do not count. From one process to the next
steps of this machine differ by a third, which no cost of this size would show through. One thread of torch, medians of
all steps of all rounds. Our reports go over HTTP with gzip from a spool that is synced to disk; trackio writes to a
local file, MLflow to its tracking server.

    python -m benchmarks.bench_reporter [--rounds 4] [--steps 240] [--rival trackio|mlflow|none]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reporter_child import BLOCK, STEPS_FILE, is_told
from benchmarks.rivals.environment import RIVALS_FOLDER, rival_environment
from benchmarks.rivals.mlflow import running_mlflow
from tests.support.pod_receiver import PodReceiver
from tests.support.tiny_model import build_tiny_model

SETTLING_STEPS = 6
"""More than a second, in which the reporter sends what it has."""


@dataclass
class Steps:
    """Seconds of steps that somebody was told of, and of those that nobody was."""

    told: list[float] = field(default_factory=list)
    silent: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How much longer a step takes that is told of."""
        return statistics.median(self.told) / statistics.median(self.silent)

    def add(self, steps: Sequence[tuple[int, float]]) -> None:
        """Those of a run that count."""
        for number, seconds in steps:
            if number > BLOCK and (number - 1) % BLOCK >= SETTLING_STEPS:
                (self.told if is_told(number) else self.silent).append(seconds)


def main() -> None:
    """Measure and print; the last line is our step against the step that tells nobody."""
    options = _options()
    measured = {mode: Steps() for mode in ("ours", options.rival) if mode != "none"}
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as name, _variables(options, Path(name)) as variables:
        folder, receiver = Path(name), PodReceiver()
        build_tiny_model(folder / "model")
        receiver.start()
        for number in range(options.rounds):
            for mode, steps in measured.items():
                steps.add(_run(mode, folder, receiver.url, variables))
                print(f"{mode:8} {_in_words(steps)}", flush=True)
            told, expected = len(receiver.records("metrics", "points")), (number + 1) * _told(options.steps)
            if told != expected:
                raise RuntimeError(f"{told} points arrived of {expected}")
        receiver.stop()
    if options.rival != "none":
        print(f"{options.rival}: {measured[options.rival].ratio:.4f} of a step")
    ours = measured["ours"]
    print(f"bench-reporter ratio={ours.ratio:.4f} ({_in_words(ours)})")


def _run(mode: str, folder: Path, url: str, variables: dict[str, str]) -> list[tuple[int, float]]:
    for left in ("spool", "out"):
        shutil.rmtree(folder / left, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.reporter_child", mode, str(folder), url]
    ended = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"the run {mode} failed:\n{ended.stderr[-3000:]}")
    return [(number, seconds) for number, seconds in json.loads((folder / STEPS_FILE).read_text())]


def _told(steps: int) -> int:
    return sum(map(is_told, range(1, steps + 1)))


def _in_words(steps: Steps) -> str:
    told, silent = (1000 * statistics.median(some) for some in (steps.told, steps.silent))
    return f"us {told:.2f} ms / rival {silent:.2f} ms, no reporter; {len(steps.told)} and {len(steps.silent)} steps"


@contextmanager
def _variables(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, str]]:
    """What the runs' processes see. The rival's packages come last in their path: ours are the same for all."""
    variables = {"BENCH_REPORTER_STEPS": str(options.steps), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if options.rival == "none":
        yield variables
        return
    programs = rival_environment(options.rivals)
    packages = next(programs.parent.glob("lib/python*/site-packages"))
    variables |= {"PYTHONPATH": f"{Path.cwd()}:{packages}", "TRACKIO_DIR": str(folder / "trackio")}
    if options.rival == "trackio":
        yield variables
        return
    with running_mlflow(programs, folder / "mlflow") as server:
        yield variables | {"MLFLOW_TRACKING_URI": server.url}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--rival", choices=["trackio", "mlflow", "none"], default="trackio")
    parser.add_argument("--rivals", type=Path, default=RIVALS_FOLDER, help="environment of the rivals; made if missing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
