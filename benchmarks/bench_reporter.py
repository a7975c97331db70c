"""What telling the numbers of each step costs a training: our reporter, and TRL's own logging to trackio or MLflow.

The base line is the same training that tells nobody. Runs alternate, each in a process of its own with one thread of
torch; a round is one run of each, and what is compared are medians of a round's steps. Our reports go over HTTP with
gzip from a spool that is synced to disk; trackio writes to a local file, MLflow to its tracking server.

    python -m benchmarks.bench_reporter [--rounds 5] [--steps 60] [--rival trackio|mlflow|none]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rivals.environment import RIVALS_FOLDER, rival_environment
from benchmarks.rivals.mlflow import running_mlflow
from tests.support.pod_receiver import PodReceiver
from tests.support.tiny_model import build_tiny_model

WARM_UP_STEPS = 10


def main() -> None:
    """Measure and print; the last line is our step against the step that tells nobody."""
    options = _options()
    modes = ["none", "ours"] + ([] if options.rival == "none" else [options.rival])
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as name, _variables(options, Path(name)) as variables:
        folder, receiver = Path(name), PodReceiver()
        build_tiny_model(folder / "model")
        receiver.start()
        for number in range(options.rounds):
            # In turn forwards and backwards: a machine that gets slower favours nobody.
            order = modes if number % 2 == 0 else modes[::-1]
            rounds.append({mode: _run(mode, folder, receiver.url, variables) for mode in order})
            print(" ".join(f"{mode} {1000 * rounds[-1][mode]:.2f} ms" for mode in modes), flush=True)
            told = len(receiver.records("metrics", "points"))
            if told != (number + 1) * options.steps:
                raise RuntimeError(f"{told} points arrived of {(number + 1) * options.steps}")
        receiver.stop()
    _print(rounds, options.rival)


def _run(mode: str, folder: Path, url: str, variables: dict[str, str]) -> float:
    for left in ("spool", "out"):
        shutil.rmtree(folder / left, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.reporter_child", mode, str(folder), url]
    ended = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"the run {mode} failed:\n{ended.stderr[-3000:]}")
    return statistics.median(json.loads(ended.stdout.splitlines()[-1])[WARM_UP_STEPS:])


def _print(rounds: list[dict[str, float]], rival: str) -> None:
    def cost(mode: str) -> float:
        return statistics.median(one[mode] / one["none"] for one in rounds)

    def step(mode: str) -> str:
        return f"{1000 * statistics.median(one[mode] for one in rounds):.2f} ms"

    if rival != "none":
        print(f"{rival} costs {cost(rival):.4f} of a step ({step(rival)}), our reporter {cost('ours'):.4f}")
    print(f"bench-reporter ratio={cost('ours'):.4f} (us {step('ours')} / rival {step('none')}, no reporter)")


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rival", choices=["trackio", "mlflow", "none"], default="trackio")
    parser.add_argument("--rivals", type=Path, default=RIVALS_FOLDER, help="environment of the rivals; made if missing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
