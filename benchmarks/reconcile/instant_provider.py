"""A provider that answers at once: every machine it is told of runs. It counts what it is asked."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from stoker_deployer.providers import Alive, AliveKind, Gone, LogPiece, Machine, MachineOrder, MachineState, Provider
from stoker_shared.rpc.deployer import ModelFacts, Offer, OffersQuery, ProviderHealth


class InstantProvider(Provider):
    """In-process: what is measured is what a deployer does, not what a cloud takes to answer."""

    name = "instant"
    launch_timeout = timedelta(seconds=10)

    def __init__(self, names: Sequence[str]) -> None:
        running = Alive(AliveKind.RUNNING, datetime.now(UTC))
        self.calls: Counter[str] = Counter()
        self._machines = {name: Machine(name, name, running) for name in names}

    async def offers(self, query: OffersQuery) -> list[Offer]:  # noqa: ARG002 - the contract
        """Nothing to rent."""
        self.calls["offers"] += 1
        return []

    async def inspect_model(self, name_or_path: str, *, hub_token: SecretStr | None = None) -> ModelFacts:
        """Not asked in this run."""
        raise NotImplementedError

    async def launch(self, order: MachineOrder) -> Machine:
        """The machine runs."""
        self.calls["launch"] += 1
        made = Machine(order.name, order.name, Alive(AliveKind.RUNNING, datetime.now(UTC)))
        return self._machines.setdefault(order.name, made)

    async def describe(self, handle: str) -> MachineState:
        """One machine."""
        self.calls["describe"] += 1
        machine = self._machines.get(handle)
        return machine.state if machine else Gone()

    async def list_machines(self) -> list[Machine]:
        """All of them."""
        self.calls["list"] += 1
        return list(self._machines.values())

    async def terminate(self, handle: str) -> None:
        """Gone at once."""
        self.calls["terminate"] += 1
        self._machines.pop(handle, None)

    async def logs(self, handle: str, *, offset: int) -> LogPiece:  # noqa: ARG002 - the contract
        """Silent."""
        return LogPiece("", offset)

    async def health(self) -> ProviderHealth:
        """Always well."""
        return ProviderHealth(provider=self.name, is_usable=True)
