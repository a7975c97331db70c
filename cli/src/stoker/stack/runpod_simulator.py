"""`stoker up --with-runpod-simulator`: a simulated RunPod beside the services, and a deployer that takes it for real.

With `--simulated-hub FOLDER` a simulated Hugging Face Hub serves that folder's models to the deployer and to pods.
The simulators belong to the tests, so they are there only where Stoker runs from its sources.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from stoker.stack.errors import StackError
from stoker.stack.keys import new_secret
from stoker.stack.layout import PRIVATE_FOLDER, Layout, write_private
from stoker.stack.services import ServiceSpec, StackFacts

NAME = "runpod-simulator"
PORT_NAME = "runpod_simulator"
MODULE = "tests.simulators.runpod"
HUB_NAME = "hub-simulator"
HUB_PORT_NAME = "hub_simulator"
HUB_MODULE = "tests.simulators.hub_server"

_ROOT = Path(__file__).parents[4]
_DEPLOYER = "deployer"


class SimulatorMissing(StackError):
    """Stoker is installed without its tests."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"The RunPod simulator is not in this installation: there is no {root / 'tests/simulators/runpod'}.",
            next_step="Run stoker up --with-runpod-simulator from a checkout of the sources, where make install made "
            "the environment, or leave the option out.",
        )


def with_runpod_simulator(
    services: Sequence[ServiceSpec], *, models: Path | None = None, root: Path = _ROOT
) -> tuple[ServiceSpec, ...]:
    """The services and a simulator, which starts before the deployer and is stopped after it.

    `models` is the folder of a simulated Hub, if there is to be one.

    Raises:
        SimulatorMissing: there are no sources of it.
    """
    if not (root / "tests" / "simulators" / "runpod" / "__main__.py").is_file():
        raise SimulatorMissing(root)
    simulators = (_simulator(root), *([_hub(root, models.absolute())] if models else []))
    return tuple(
        entry
        for service in services
        for entry in ((*simulators, _using(simulators, service)) if service.name == _DEPLOYER else (service,))
    )


def simulator_folder(layout: Layout) -> Path:
    """Where the simulated pods run, and the key of the simulated account is."""
    return layout.root / NAME


def simulator_key(layout: Layout) -> str:
    """The key of the simulated account, made where it is missing."""
    folder = simulator_folder(layout)
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    file = folder / "api-key"
    if not file.exists():
        write_private(file, f"rpa_{new_secret()}\n")
    return file.read_text().strip()


def _simulator(root: Path) -> ServiceSpec:
    def environment(facts: StackFacts) -> dict[str, str]:
        return {"RUNPOD_SIMULATOR_KEY": simulator_key(facts.layout), "PYTHONPATH": _python_path(root)}

    return ServiceSpec(
        name=NAME,
        # Port and folder are facts of the stack: they reach it by the environment.
        command=(sys.executable, "-m", MODULE),
        environment=lambda facts: environment(facts) | _place(facts),
        prefix="RUNPOD_SIMULATOR_",
        needs=("topology-keeper",),
        port_name=PORT_NAME,
        passed_on_prefixes=("PIP_", "UV_", "HF_"),
        ends_descendants=True,
        stop_timeout=timedelta(seconds=10),
    )


def _hub(root: Path, models: Path) -> ServiceSpec:
    def environment(facts: StackFacts) -> dict[str, str]:
        return {
            "PYTHONPATH": _python_path(root),
            "HUB_SIMULATOR_PORT": str(facts.ports[HUB_PORT_NAME]),
            "HUB_SIMULATOR_FOLDER": str(models),
        }

    return ServiceSpec(
        name=HUB_NAME,
        command=(sys.executable, "-m", HUB_MODULE),
        environment=environment,
        prefix="HUB_SIMULATOR_",
        needs=("topology-keeper",),
        port_name=HUB_PORT_NAME,
        stop_timeout=timedelta(seconds=5),
    )


def _python_path(root: Path) -> str:
    return os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])


def _place(facts: StackFacts) -> dict[str, str]:
    return {
        "RUNPOD_SIMULATOR_PORT": str(facts.ports[PORT_NAME]),
        "RUNPOD_SIMULATOR_FOLDER": str(simulator_folder(facts.layout)),
    }


def _using(simulators: Sequence[ServiceSpec], deployer: ServiceSpec) -> ServiceSpec:
    names = tuple(simulator.name for simulator in simulators)

    def environment(facts: StackFacts) -> dict[str, str]:
        hub = {"STOKER_DEPLOYER_HUB_URL": facts.local_url(HUB_PORT_NAME)} if HUB_NAME in names else {}
        return {
            **hub,
            **deployer.environment(facts),
            "STOKER_DEPLOYER_RUNPOD_URL": f"{facts.local_url(PORT_NAME)}/v2",
            "STOKER_DEPLOYER_RUNPOD_GRAPHQL_URL": f"{facts.local_url(PORT_NAME)}/graphql",
            "STOKER_DEPLOYER_RUNPOD_API_KEY": simulator_key(facts.layout),
        }

    return replace(deployer, environment=environment, needs=(*deployer.needs, *names))
