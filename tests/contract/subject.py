"""What the contract of a provider is tested on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from stoker_deployer.providers import MachineOrder, Provider
from stoker_shared.identifiers import new_identifier


@dataclass
class Subject:
    """A provider under test, the same with a wrong key, and the same at an address where nobody listens."""

    provider: Provider
    with_wrong_key: Provider
    with_nobody_there: Provider
    known_model: str
    end_work: Callable[[str], None]
    """Makes what runs on a machine end, with an exit code other than 0 if there are any."""
    gpu_type: str = "cpu"
    gpu_count: int = 0
    tells_ends: bool = True
    """Whether the provider tells when, and with which exit code, a machine has ended. If not, it must not guess."""
    command: str = ""
    """What an order tells a bare container to run."""
    close: Callable[[], Awaitable[None]] | None = None

    def order(self, name: str | None = None, **environment: str) -> MachineOrder:
        """An order of the smallest machine that this provider has."""
        return replace(
            an_order(name, **environment), gpu_type=self.gpu_type, gpu_count=self.gpu_count, command=self.command
        )


def an_order(name: str | None = None, **environment: str) -> MachineOrder:
    """An order of a machine without a GPU, under a name of its own."""
    return MachineOrder(
        name=name or f"{new_identifier('job')}-1",
        gpu_type="cpu",
        gpu_count=0,
        environment={"JOB_ID": "x", **environment},
    )
