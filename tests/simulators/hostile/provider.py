"""What a deployer sees of the cloud: the contract of a provider, kept to the letter, with answers as bad as it allows.

The one lie against the letter is `gone_lie`: providers with several replicas do say "no such machine" of one that is
there, and the deployer is built not to lose it for ever.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from pydantic import SecretStr

from stoker_deployer.providers import (
    Exited,
    Gone,
    LogPiece,
    Machine,
    MachineOrder,
    MachineState,
    Provider,
    Unknown,
)
from stoker_deployer.providers.errors import ModelNotFound
from stoker_shared.errors import (
    AuthFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    RateLimited,
    UnknownOutcome,
)
from stoker_shared.money import MicroUsd
from stoker_shared.rpc.deployer import ModelFacts, Offer, OffersQuery, ProviderHealth
from tests.simulators.hostile.cloud import Cloud, CloudMachine
from tests.simulators.hostile.faults import LATE, RETRY_AFTER, SLOW, SOON, Operation
from tests.simulators.hostile.line import Cut, Line

KNOWN_MODEL = "tiny"

ResultT = TypeVar("ResultT")


class HostileProvider(Provider):
    """One deployer's connection to a cloud."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        name: str = "hostile",
        line: Line | None = None,
        key: str | None = None,
        launch_timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self.name = name
        self.launch_timeout = launch_timeout
        self.cloud = cloud
        self._line = line or Line()
        self._key = cloud.key if key is None else key

    async def offers(self, query: OffersQuery) -> list[Offer]:
        """One kind of machine, with or without a GPU."""
        kinds = [("cpu", 0, 1), ("hostile-gpu", 1, 2)]
        price = self.cloud.price_micro_usd_per_hour
        found = [
            Offer(provider=self.name, gpu_type=kind, gpu_count=count, price_micro_usd_per_hour=price * factor)
            for kind, count, factor in kinds
            if query.gpu_type in (None, kind) and query.gpu_count in (None, count)
        ]
        return await self._call("offers", "", lambda: found)

    async def inspect_model(self, name_or_path: str, *, hub_token: SecretStr | None = None) -> ModelFacts:
        """There is one model."""
        return await self._call("inspect", name_or_path, lambda: self._model(name_or_path))

    async def launch(self, order: MachineOrder) -> Machine:
        """Make a machine, or two, or none, now or later, and say so or not."""
        return await self._call("launch", order.name, lambda: self._launch(order), limit=self.launch_timeout)

    async def describe(self, handle: str) -> MachineState:
        """The state of a machine, or what it used to be."""
        try:
            return await self._call("describe", handle, lambda: self._describe(handle))
        except ProviderError as error:
            return Unknown(error.detail)

    async def list_machines(self) -> list[Machine]:
        """All machines, or those that were there a while ago."""
        return await self._call("list", "", self._list)

    async def find(self, name: str) -> list[Machine]:
        """Machines of a name. Counted as a question about that name."""
        return await self._call("list", name, lambda: [found for found in self._list() if found.name == name])

    async def terminate(self, handle: str) -> None:
        """Release a machine, or only say so."""
        await self._call("terminate", handle, lambda: self._terminate(handle))

    async def logs(self, handle: str, *, offset: int) -> LogPiece:
        """One line for each machine that there ever was."""
        return await self._call("logs", handle, lambda: self._logs(handle, offset))

    async def health(self) -> ProviderHealth:
        """Whether calls are answered."""
        try:
            await self._call("health", "", lambda: None)
        except ProviderError as error:
            return ProviderHealth(provider=self.name, is_usable=False, detail=error.detail, next_step="Set the key.")
        return ProviderHealth(provider=self.name, is_usable=True)

    async def account_id(self) -> str:
        """Whose the key is, if the provider tells."""
        return await self._call("account", "", lambda: self.cloud.account_id)

    async def billed(self, handle: str) -> MicroUsd | None:
        """What the machine cost by the provider's own account, None if that is not known yet."""
        return await self._call("billed", handle, lambda: self.cloud.bill(handle))

    async def _call(
        self, operation: str, about: str, act: Callable[[], ResultT], *, limit: timedelta | None = None
    ) -> ResultT:
        sent = self.cloud.clock.now()
        await self._reach(f"{operation} asked")
        self.cloud.catch_up()
        try:
            result = self._answer(act)
        except ProviderError as error:
            self.cloud.note(operation, about, said=type(error).__name__)
            raise
        self.cloud.note(operation, about, said=_short(result))
        await self._reach(f"{operation} answered")
        if limit is not None and self.cloud.clock.now() - sent > limit:
            raise self._no_answer("too late")
        return result

    def _answer(self, act: Callable[[], ResultT]) -> ResultT:
        if self.cloud.is_away:
            raise self._no_answer("away")
        if self._key not in {self.cloud.key, *self.cloud.further_keys}:
            raise AuthFailed(self.name, "the key is not accepted", next_step="Set a valid key.")
        return act()

    async def _reach(self, place: str) -> None:
        try:
            await self._line.reach(place)
        except Cut as error:
            raise self._no_answer(place) from error

    def _no_answer(self, why: str) -> UnknownOutcome:
        return UnknownOutcome(self.name, f"no answer ({why})", next_step="Stoker looks what came of it.")

    def _meets(self, operation: Operation) -> str:
        fault = self.cloud.meets(operation)
        if fault == "away":
            raise self._no_answer("away")
        if fault == "throttled":
            raise RateLimited(self.name, "too many calls", retry_after=RETRY_AFTER)
        return fault

    def _launch(self, order: MachineOrder) -> Machine:
        fault, cloud = self._meets("launch"), self.cloud
        refusal = _REFUSALS.get(fault)
        if refusal is not None:
            raise refusal(self.name, f"refused: {fault}", next_step="Simulated.")
        if cloud.names_are_unique and cloud.named(order.name):
            return self._taken(order)
        if fault in _DELAYS:
            cloud.later(_DELAYS[fault], lambda at: cloud.create(order, at))
        if fault in _MADE_AT_ONCE:
            made = [cloud.create(order, cloud.clock.now()) for _ in range(_MADE_AT_ONCE[fault])]
        if fault in _UNCLEAR:
            raise self._no_answer(fault)
        return _as_machine(made[0])

    def _taken(self, order: MachineOrder) -> Machine:
        (machine,) = self.cloud.named(order.name)
        if dict(machine.order.environment) != dict(order.environment) or not machine.is_alive:
            raise self._no_answer("the name is taken")
        return _as_machine(machine)

    def _describe(self, handle: str) -> MachineState:
        fault, machine = self._meets("describe"), self.cloud.machines.get(handle)
        if machine is None or fault == "gone_lie":
            return Gone()
        return self.cloud.stale_state(machine) if fault == "stale" else machine.state

    def _list(self) -> list[Machine]:
        if self._meets("list") == "stale":
            return [Machine(machine.name, machine.handle, state) for machine, state in self.cloud.stale_list()]
        return [_as_machine(machine) for machine in self.cloud.machines.values()]

    def _terminate(self, handle: str) -> None:
        fault, cloud = self._meets("terminate"), self.cloud
        if fault == "slow":
            cloud.later(SLOW, lambda at: cloud.end(handle, at))
        elif fault != "ignored":
            cloud.end(handle, cloud.clock.now())
        if fault == "lost_answer":
            raise self._no_answer(fault)

    def _logs(self, handle: str, offset: int) -> LogPiece:
        if handle not in self.cloud.machines:
            return LogPiece(text="", next_offset=offset)
        text = f"hello from {handle}\n".encode()[offset:].decode()
        return LogPiece(text=text, next_offset=offset + len(text))

    def _model(self, name_or_path: str) -> ModelFacts:
        if name_or_path != KNOWN_MODEL:
            raise ModelNotFound(self.name, name_or_path)
        return ModelFacts(
            name_or_path=name_or_path,
            architecture="LlamaForCausalLM",
            parameters=1,
            hidden_size=1,
            layers=1,
            attention_heads=1,
            key_value_heads=1,
            intermediate_size=1,
            vocabulary=1,
            max_position=1,
            has_chat_template=True,
            weights_bytes=1,
        )


_REFUSALS: dict[str, type[ProviderError]] = {
    "no_capacity": NoCapacity,
    "refused": InvalidRequest,
    "no_funds": InsufficientFunds,
}
_DELAYS = {"soon": SOON, "late": LATE}
_MADE_AT_ONCE = {"": 1, "lost_answer": 1, "twice": 2, "twice_lost": 2}
_UNCLEAR = ("not_done", "lost_answer", "soon", "late", "twice_lost")


def _as_machine(machine: CloudMachine) -> Machine:
    return Machine(machine.name, machine.handle, machine.state)


def _short(result: object) -> str:
    if isinstance(result, list):
        return str(sum(isinstance(found, Machine) and not isinstance(found.state, Gone) for found in result))
    if isinstance(result, Gone) and result.ended_at is None:
        return "Gone, undated"
    return type(result).__name__ if isinstance(result, Gone | Exited) else "ok"
