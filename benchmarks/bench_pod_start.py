"""From a container's start to its first training step, by stage, against the same steps as a plain script.

The rival is what one writes by hand: `python -m venv`, `pip install -r` the same lock, `curl` the trainer,
`pip install` it, run it. Both have the same wheels on the same disk and a cache that an earlier run has filled;
gateway, metrics service and provider are real HTTP servers on this machine, the model is tiny. Ours is measured twice:
with an image that has no packages, and with the pre-built one.

    python -m benchmarks.bench_pod_start [--keep FOLDER]
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from stoker_deployer.pods.script import UV_VERSION, trainer_lock
from tests.support.pod_receiver import TOKEN, PodReceiver, wait_until
from tests.support.pod_world import Container, PodWorld
from tests.support.tiny_model import build_tiny_model, conversations, write_rows
from tests.support.tiny_run import config_json

STAGES = ("boot", "system", "checks", "bundle", "packages", "training")
_BEGINS = re.compile(r"\[(\S+)Z\] (\w+): begins ")
PLAIN = """
set -euo pipefail
said() { echo "[$(date -u +%Y-%m-%dT%H:%M:%S.%3N)Z] $1: begins "; }
said boot
mkdir -p "$WORKSPACE"; cd "$WORKSPACE"
said packages
"$PYTHON" -m venv venv
venv/bin/python -m pip install --quiet -r "$LOCK"
said bundle
curl -sSf -H "Authorization: Bearer $JOB_TOKEN" -o "$WHEEL" "$TRAINER_URL"
venv/bin/python -m pip install --quiet --no-deps "$WHEEL"
said training
exec venv/bin/python -m stoker_trainer.pod
"""


@dataclass(frozen=True)
class Start:
    """Seconds of each stage, in order; the last one ends with the first training step."""

    name: str
    stages: dict[str, float]

    @property
    def seconds(self) -> float:
        """All together."""
        return sum(self.stages.values())


class Bench:
    """Servers, wheels and caches that all runs share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.model = build_tiny_model(folder / "model")
        self.lock = folder / "trainer.lock"
        self.lock.write_text(trainer_lock())
        self.data = write_rows(folder / "rows.jsonl", conversations()).read_bytes()
        self._runs = 0

    def fetch_wheels(self) -> None:
        """All that the lock names, once; afterwards nobody asks an index."""
        if self.wheels.exists():
            return
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
        command += ["--dest", str(self.wheels), "--requirement", str(self.lock), f"uv=={UV_VERSION}"]
        subprocess.run(command, check=True)

    def installers(self) -> dict[str, str]:
        """Variables that keep pip and uv to these wheels and to caches of this benchmark."""
        return {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_CACHE_DIR": str(self.folder / "pip-cache"),
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(self.wheels),
            "UV_CACHE_DIR": str(self.folder / "uv-cache"),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def script(self, *, has_packages: bool) -> Start:
        """Our script, until the first step."""
        name = "image" if has_packages else "script"

        def start(world: PodWorld, receiver: PodReceiver, root: Path) -> Container:
            variables = {} if has_packages else {"STOKER_POD_IMAGE": str(self.folder / "none")}
            container = Container(
                world.script(),
                receiver,
                root,
                config=config_json(self.model),
                **world.trainer,
                **variables,
                **self.installers(),
            )
            container.environment["PATH"] = f"{Path(sys.executable).parent}:{container.environment['PATH']}"
            return container

        return self._measured(name, start)

    def plain(self) -> Start:
        """The rival, until the first step."""

        def start(world: PodWorld, receiver: PodReceiver, root: Path) -> Container:
            container = Container(world.script(), receiver, root, config=config_json(self.model), **self.installers())
            container.arguments = ["bash", "-c", PLAIN]
            container.environment |= {
                "WORKSPACE": str(root),
                "PYTHON": sys.executable,
                "LOCK": str(self.lock),
                "WHEEL": f"stoker_trainer-{world.bundle.version}-py3-none-any.whl",
                "TRAINER_URL": world.trainer["TRAINER_BUNDLE_URL"],
                "JOB_TOKEN": TOKEN,
            }
            return container

        return self._measured("plain", start)

    def _measured(self, name: str, start: Callable[[PodWorld, PodReceiver, Path], Container]) -> Start:
        self._runs += 1
        world, receiver = PodWorld(), PodReceiver()
        receiver.dataset = self.data
        world.start()
        receiver.start()
        container = start(world, receiver, self.folder / f"{name}-{self._runs}")
        world.container = container  # a pod that fails ends itself
        began = time.time()
        try:
            container.start()
            wait_until(lambda: _has_stepped(receiver) or _has_ended(container), seconds=1800)
            stepped = time.time()
            if not _has_stepped(receiver):
                raise SystemExit(f"{name} ended before its first step:\n{container.output}")
        finally:
            container.kill()
            container.wait()
            receiver.downloads_open.set()
            receiver.stop()
            world.stop()
        return Start(name, _stages(container.output, began=began, ended=stepped))


def main() -> None:
    """Measure and print; the last line is ours against the plain script."""
    keep = sys.argv[sys.argv.index("--keep") + 1] if "--keep" in sys.argv else None
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as temporary:
        folder = Path(keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder)
        print("fetching wheels, then one run of each to fill its cache", flush=True)
        bench.fetch_wheels()
        if not (folder / "warm").exists():
            bench.script(has_packages=False)
            bench.plain()
            (folder / "warm").touch()
        starts = [bench.plain(), bench.script(has_packages=False), bench.script(has_packages=True)]
    _print(starts)
    plain, script, image = starts
    print(
        f"pod-start ratio={script.seconds / plain.seconds:.2f} (script {script.seconds:.1f} s / plain "
        f"{plain.seconds:.1f} s; pre-built image {image.seconds:.1f} s)"
    )


def _has_stepped(receiver: PodReceiver) -> bool:
    return any("loss" in point["values"] for point in receiver.records("metrics", "points"))


def _has_ended(container: Container) -> bool:
    assert container.process
    return container.process.poll() is not None


def _stages(output: str, *, began: float, ended: float) -> dict[str, float]:
    """Seconds of each stage from the times in the log."""
    marks = [(name, datetime.fromisoformat(f"{at}+00:00").timestamp()) for at, name in _BEGINS.findall(output)]
    marks = [("boot", began), *((name, at) for name, at in marks if name != "boot"), ("", ended)]
    return {name: after - at for (name, at), (_, after) in pairwise(marks)}


def _print(starts: list[Start]) -> None:
    print(f"{'':8}" + "".join(f"{stage:>10}" for stage in STAGES) + f"{'together':>10}")
    for start in starts:
        print(f"{start.name:8}" + "".join(f"{start.stages.get(stage, 0):10.1f}" for stage in STAGES), end="")
        print(f"{start.seconds:10.1f}")


if __name__ == "__main__":
    main()
