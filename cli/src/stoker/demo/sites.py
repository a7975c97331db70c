"""Where the demo trains: on this machine's own training server, or on pods of a simulated RunPod."""

from pathlib import Path
from typing import Any, Protocol

from stoker.client import Client
from stoker.client.models import Job
from stoker.demo.plan import DemoResult
from stoker.demo.stack_process import StackProcess
from stoker.demo.stages import POD_STAGES, Stages


class Site(Protocol):
    """What differs between the places."""

    stages_left_out: frozenset[str]

    def prepare(self, folder: Path, model: Path, *, stages: Stages) -> None:
        """Get what machines there need."""

    def stack(self, data_dir: Path) -> StackProcess:
        """The system, with what belongs to the place."""

    def model_name(self, model: Path) -> str:
        """What its machines call the base model."""

    def choice(self) -> dict[str, Any]:
        """Provider and limits of the plan."""

    def settle(self, client: Client, job: Job, *, result: DemoResult, stages: Stages) -> None:
        """What is to be seen of the machine after its job."""


class ThisMachine:
    """The training server of the stack."""

    stages_left_out = POD_STAGES

    def prepare(self, folder: Path, model: Path, *, stages: Stages) -> None:
        """Everything is there."""

    def stack(self, data_dir: Path) -> StackProcess:
        """`stoker up`."""
        return StackProcess(data_dir)

    def model_name(self, model: Path) -> str:
        """Its folder."""
        return str(model)

    def choice(self) -> dict[str, Any]:
        """One provider, one machine."""
        return {"provider": "local"}

    def settle(self, client: Client, job: Job, *, result: DemoResult, stages: Stages) -> None:
        """The machine is this one."""
