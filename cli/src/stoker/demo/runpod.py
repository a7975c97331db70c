"""The demo on RunPod: the pod's whole path, against a RunPod that is simulated on this machine.

The pod's script runs for real: it installs the trainer's packages by uv, fetches trainer, model and data, trains,
reports, uploads, and ends its pod. What it installs comes from a folder of wheels that is filled once.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stoker.client import Client
from stoker.client.models import Job
from stoker.demo.base_model import NAME
from stoker.demo.errors import NotSettled
from stoker.demo.plan import DemoResult
from stoker.demo.pod_story import Cloud, show_story, story_of
from stoker.demo.programs import run_program
from stoker.demo.stack_process import StackProcess
from stoker.demo.stages import Stages
from stoker_deployer.pods.script import UV_VERSION, trainer_lock

ORGANISATION = "HuggingFaceTB"
GPU_TYPE = "NVIDIA RTX A4000"
SETTLED_WITHIN = 180.0
LOOK_EVERY = 0.5

_DOWNLOAD = (sys.executable, "-m", "pip", "download", "--only-binary", ":all:")
# So that its bill is seen in seconds: nobody waits for a real one, which comes after an hour and more.
_DEPLOYER = {
    "STOKER_DEPLOYER_RUNPOD_BILL_SETTLES_AFTER": "4",
    "STOKER_DEPLOYER_BILL_ASK_EVERY": "2",
}


class SimulatedRunpod:
    """Rents one GPU by name; it trains on this machine's processors all the same."""

    stages_left_out: frozenset[str] = frozenset()

    def __init__(self, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._folder = Path()

    def prepare(self, folder: Path, model: Path, *, stages: Stages) -> None:
        """Fetch the wheels of the trainer's lock, and put the model where the simulated Hub finds it."""
        self._folder = folder
        published = folder / "hub" / ORGANISATION / NAME
        if not published.exists():
            # The same files under another name; the Hub follows no link that leads out of its folder.
            shutil.copytree(model, published, copy_function=os.link)
        with stages.stage("wheels"):
            wheels = _wheels(folder)
            size = sum(file.stat().st_size for file in wheels)
            stages.console.print(f"      {len(wheels)} wheels, {size / 1e6:,.0f} MB, in {folder / 'wheels'}")

    def stack(self, data_dir: Path) -> StackProcess:
        """The system beside a simulated RunPod and a simulated Hub; pods install from the folder of wheels."""
        wheels, cache = self._folder / "wheels", self._folder / "cache"
        installers = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(wheels),
            "UV_CACHE_DIR": str(cache / "uv"),
            "PIP_CACHE_DIR": str(cache / "pip"),
        }
        rules = self._folder / "rules.json"
        rules.write_text('{"time_scale": 0.2, "image": "bare"}\n')
        return StackProcess(
            data_dir,
            options=("--with-runpod-simulator", "--simulated-hub", str(self._folder / "hub")),
            environment={**_DEPLOYER, **installers, "RUNPOD_SIMULATOR_RULES": str(rules)},
        )

    def model_name(self, model: Path) -> str:
        """As it is called on the Hub."""
        return f"{ORGANISATION}/{model.name}"

    def choice(self) -> dict[str, Any]:
        """One cheap GPU."""
        return {"provider": "runpod", "gpu_type": GPU_TYPE, "gpu_count": 1}

    def settle(self, client: Client, job: Job, *, result: DemoResult, stages: Stages) -> None:
        """Wait for the bill, look at what is left, tell the pod's story.

        Raises:
            NotSettled: no bill came in time.
        """
        with stages.stage("settle"):
            job = self._billed(client, job)
            pods = Cloud(self._folder / "stack").pods()
            result.pod = story_of(pods, job, [line.text for line in client.logs(job.job_id)])
            result.cost_micro_usd = job.spent_micro_usd
            show_story(result.pod, stages.console)

    def _billed(self, client: Client, job: Job) -> Job:
        deadline = time.monotonic() + SETTLED_WITHIN
        while not job.bills:
            if time.monotonic() > deadline:
                raise NotSettled(job.job_id, seconds=SETTLED_WITHIN)
            self._sleep(LOOK_EVERY)
            job = client.job(job.job_id)
        return job


def _wheels(folder: Path) -> list[Path]:
    wheels, lock, complete = folder / "wheels", folder / "trainer.lock", folder / "wheels" / "complete"
    text = f"{trainer_lock()}uv=={UV_VERSION}\n"
    if not complete.exists() or complete.read_text(encoding="utf-8") != text:
        lock.write_text(text, encoding="utf-8")
        run_program(
            [*_DOWNLOAD, "--dest", str(wheels), "--requirement", str(lock)],
            what="pip download of the trainer's packages",
            log_file=folder / "wheels.log",
            timeout=1800,
            next_step="The demo needs a package index: check the network and pip's settings, then try again.",
        )
        complete.write_text(text, encoding="utf-8")
    return list(wheels.glob("*.whl"))
