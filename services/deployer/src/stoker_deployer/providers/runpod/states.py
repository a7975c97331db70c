"""What RunPod's words about a pod mean here."""

from collections.abc import Callable

from stoker_deployer.providers.base import Alive, AliveKind, Exited, Gone, Machine, MachineState, Unknown
from stoker_deployer.providers.runpod.offers import price_of
from stoker_deployer.providers.runpod.schemas import Pod

_STATES: dict[str, Callable[[Pod], MachineState]] = {
    # It may be billed from here on, since pulling the image is; the bill corrects what is counted too much.
    "PROVISIONING": lambda pod: Alive(AliveKind.STARTING, pod.started_at),
    "STARTING": lambda pod: Alive(AliveKind.STARTING, pod.created_at),
    "RUNNING": lambda pod: Alive(AliveKind.RUNNING, pod.created_at),
    # Why and when it ended is told nowhere, and no exit code.
    "EXITED": lambda pod: Exited(None, pod.created_at, note="RunPod tells EXITED"),
    "ERROR": lambda pod: Exited(None, pod.created_at, note="RunPod tells ERROR"),
    "TERMINATED": lambda pod: Gone(pod.created_at),
}


def state_of(pod: Pod) -> MachineState:
    """The state of a pod; a word that is not known says nothing."""
    read = _STATES.get(pod.status)
    return read(pod) if read else Unknown(f"RunPod calls the state of {pod.id} {pod.status[:40]!r}")


def machine_of(pod: Pod) -> Machine:
    """A pod as a machine. Its name is ours, its id the handle."""
    return Machine(name=pod.name, handle=pod.id, state=state_of(pod), price_micro_usd_per_hour=price_of(pod))
