"""Who rents out machines, behind one interface. How to add one: docs/adding-a-provider.md."""

from stoker_deployer.providers.base import (
    Alive,
    AliveKind,
    Bills,
    Exited,
    Gone,
    LogPiece,
    Machine,
    MachineOrder,
    MachineState,
    Provider,
    RunsContainers,
    Unknown,
)

__all__ = [
    "Alive",
    "AliveKind",
    "Bills",
    "Exited",
    "Gone",
    "LogPiece",
    "Machine",
    "MachineOrder",
    "MachineState",
    "Provider",
    "RunsContainers",
    "Unknown",
]
