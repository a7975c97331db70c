"""`stoker up` with real infrastructure and small services: `python -m tests.support.small_stack FOLDER`."""

import sys
from datetime import timedelta
from pathlib import Path

import psutil

from stoker.stack.run_up import run_up
from stoker.stack.services import SERVICES, ServiceSpec, StackFacts
from tests.support.ports import free_port

PROGRAM = Path(__file__).with_name("small_service.py")


def small_service(name: str, port_name: str, *traits: str, ends_descendants: bool = False) -> ServiceSpec:
    """A service of the stack that is a small Python program. Its port reaches it as an argument through a shell."""
    return ServiceSpec(
        name=name,
        command=("/bin/sh", "-c", f'exec "{sys.executable}" "{PROGRAM}" "$PORT" {" ".join(traits)}'),
        environment=lambda facts: _environment(facts, port_name),
        prefix="SMALL_",
        port_name=port_name,
        ends_descendants=ends_descendants,
        stop_timeout=timedelta(seconds=3),
    )


def small_services(folder: Path) -> tuple[ServiceSpec, ...]:
    """The topology keeper for real, and two services; the second starts a machine as the training server does."""
    machine = f'machine="{folder}/machine.pid"'
    return (
        SERVICES[0],
        small_service("first", "api"),
        small_service("second", "training_server", machine, ends_descendants=True),
    )


def port_of(folder: Path) -> int:
    """The api's port of the stack on this folder, in every run: the usual one may be taken by a stack beside it."""
    remembered = folder.with_suffix(".port")
    if not remembered.exists():
        remembered.write_text(str(free_port()))
    return int(remembered.read_text())


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that works in a folder: by its directory, its command line or its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            traces = [process.cwd(), *process.cmdline(), *process.environ().values()]
            is_zombie = process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if not is_zombie and any(str(folder) in trace for trace in traces):
            found.append(process)
    return found


def _environment(facts: StackFacts, port_name: str) -> dict[str, str]:
    return {"PORT": str(facts.ports[port_name]), "STACK_FOLDER": str(facts.layout.root)}


if __name__ == "__main__":
    root = Path(sys.argv[1])
    sys.exit(run_up(root, port_of(root), plain=True, services=small_services(root)))
