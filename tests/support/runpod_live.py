"""A whole system that rents from a simulated RunPod: pods boot, run their real script and train a tiny model."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stoker.client.models import Job, Plan
from stoker.stack.runpod_simulator import NAME, PORT_NAME, with_runpod_simulator
from stoker.stack.services import SERVICES, ServiceSpec, StackFacts
from stoker_deployer.pods.script import trainer_lock
from stoker_shared.money import usd
from stoker_shared.recipe import ModelChoice
from tests.simulators.runpod.running import Controls
from tests.support.live_stack import LiveStack, live_stack, tiny_recipe
from tests.support.tiny_model import build_tiny_model

MODEL = "stoker/tiny"
GPU_TYPE = "NVIDIA RTX A4000"
RULES: Mapping[str, Any] = {"time_scale": 0.02, "image": "host", "quotas": {"minute": 6_000, "hour": 100_000}}
"""Pods run after half a second; calls are hardly limited."""
QUICK_BILLS: Mapping[str, str] = {
    "STOKER_DEPLOYER_RUNPOD_BILL_SETTLES_AFTER": "3",
    "STOKER_DEPLOYER_BILL_ASK_EVERY": "1",
}
"""Nobody waits for a real bill, which comes after an hour and more."""


@dataclass(frozen=True, slots=True)
class RunpodLive:
    """A stack, and the truth about the cloud that it rents from."""

    stack: LiveStack
    cloud: Controls

    def plan(self, dataset: str, *, steps: int, checkpoint_every: int = 0, **limits: Any) -> Plan:
        """A plan for the tiny model on one cheap GPU."""
        recipe = tiny_recipe(Path(), steps=steps, checkpoint_every=checkpoint_every)
        recipe = recipe.model_copy(update={"model": ModelChoice(name_or_path=MODEL)})
        choice: dict[str, Any] = {"budget_usd": "1.00", "gpu_type": GPU_TYPE, "gpu_count": 1, **limits}
        return self.stack.client.plan(dataset, recipe=recipe, provider="runpod", **choice)

    def pods(self, job_id: str) -> list[dict[str, Any]]:
        """Every pod there ever was for a job, oldest first."""
        return [pod for pod in self.cloud.pods() if pod["name"].startswith(f"{job_id}-")]

    def charged(self, job_id: str) -> int:
        """What the job's pods have cost, in micro-dollars, by the cloud's own meter."""
        return sum(self.charged_for(pod) for pod in self.pods(job_id))

    def charged_for(self, pod: Mapping[str, Any]) -> int:
        """What one of them has cost."""
        return usd(str(pod["spent"]))

    def is_settled(self, job: Job) -> bool:
        """Whether every attempt that had a pod has its bill."""
        had_pods = {int(pod["name"].rpartition("-")[2]) for pod in self.pods(job.job_id)}
        return had_pods <= {bill.attempt for bill in job.bills}


@contextmanager
def runpod_live(
    folder: Path,
    *,
    deployer: Mapping[str, str] = QUICK_BILLS,
    rules: Mapping[str, Any] = RULES,
    stack_settings: Mapping[str, Any] | None = None,
) -> Iterator[RunpodLive]:
    """The system with these settings of the deployer and rules of the cloud; pods come with the trainer's packages."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tiny_model(folder / "hub" / MODEL)
    file = folder / "rules.json"
    file.write_text(json.dumps({**rules, "image_environment": {"STOKER_POD_IMAGE": str(_image(folder))}}))
    services = with_runpod_simulator(SERVICES, models=folder / "hub")
    services = _with_environment(services, "deployer", deployer)
    services = _with_environment(services, NAME, {"RUNPOD_SIMULATOR_RULES": str(file)})
    with live_stack(folder / "data", services=services, **(stack_settings or {})) as stack:
        cloud = Controls(stack.stack.urls[PORT_NAME])
        try:
            yield RunpodLive(stack, cloud)
        finally:
            cloud.admin.close()


def _image(folder: Path) -> Path:
    """What the pre-built image says of itself: the lock that it was built from, and the Python that has it."""
    file = folder / "pod-image"
    file.write_text(f"{hashlib.sha256(trainer_lock().encode()).hexdigest()}\n{sys.executable}\n")
    return file


def _with_environment(services: Sequence[ServiceSpec], name: str, values: Mapping[str, str]) -> tuple[ServiceSpec, ...]:
    return tuple(_adding(service, values) if service.name == name else service for service in services)


def _adding(service: ServiceSpec, values: Mapping[str, str]) -> ServiceSpec:
    def environment(facts: StackFacts) -> dict[str, str]:
        return {**service.environment(facts), **values}

    return replace(service, environment=environment)
