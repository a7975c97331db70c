"""The provider's truth: which machines there are, who asked for what, what is under way. Time is the caller's."""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stoker_deployer.providers import Alive, AliveKind, Exited, Gone, MachineOrder, MachineState
from stoker_shared.clock import Clock
from stoker_shared.money import ONE_USD, MicroUsd, cost_of
from tests.simulators.hostile.faults import STALE, Operation


@dataclass
class CloudMachine:
    """One machine as it really is."""

    name: str
    handle: str
    order: MachineOrder
    created_at: datetime
    started_at: datetime | None = None
    exited_at: datetime | None = None
    exit_code: int | None = None
    ended_at: datetime | None = None
    before: MachineState | None = None
    """The state before the last change, for answers that are stale."""
    changed_at: datetime | None = None
    is_dumb: bool = False
    """Its pod never says a word."""
    costs_after_exit: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it is there, and may cost."""
        return self.ended_at is None

    @property
    def is_running(self) -> bool:
        """Whether something runs on it."""
        return self.is_alive and self.started_at is not None and self.exited_at is None

    @property
    def costs_until(self) -> datetime | None:
        """When it ceased to cost."""
        return self.exited_at if self.exited_at and not self.costs_after_exit else self.ended_at

    @property
    def state(self) -> MachineState:
        """What an honest provider says."""
        if self.ended_at is not None:
            return Gone(self.started_at, self.costs_until)
        if self.exited_at is not None:
            return Exited(self.exit_code, self.started_at, self.costs_until)
        return Alive(AliveKind.RUNNING if self.started_at else AliveKind.STARTING, self.started_at)


@dataclass(frozen=True, slots=True)
class Request:
    """A call that arrived. `about` is a name or a handle, `said` what was answered."""

    operation: str
    about: str
    at: datetime
    said: str


@dataclass
class Cloud:
    """An account at the provider; tests touch it directly. `boots_for`: from the order to the start."""

    clock: Clock
    price_micro_usd_per_hour: int = ONE_USD
    names_are_unique: bool = True
    boots_for: timedelta = timedelta(0)
    exited_machines_cost: bool = False
    key: str = "hostile-key"
    further_keys: set[str] = field(default_factory=set)
    """Keys of the same account that are accepted, too."""
    account_id: str = ""
    """What the provider says of who pays; empty: nothing."""
    bill_factor_percent: int | None = 100
    """What the bill says, in percent of what it should be. None: not known yet."""
    machines: dict[str, CloudMachine] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: dict[Operation, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    is_away: bool = False
    _under_way: list[tuple[datetime, Callable[[datetime], object]]] = field(default_factory=list)
    _made: int = 0

    def break_next(self, operation: Operation, fault: str, *, times: int = 1) -> None:
        """The next calls of this operation meet a fault, one after the other."""
        self.faults[operation].extend([fault] * times)

    def clear(self, *, boots_for: timedelta = timedelta(0)) -> None:
        """As it was made, and empty."""
        self.behave()
        self.boots_for = boots_for
        self.machines.clear()
        self.requests.clear()
        self._under_way.clear()
        self._made = 0

    def behave(self) -> None:
        """No more faults; what is under way still happens."""
        self.faults.clear()
        self.is_away = False

    def meets(self, operation: Operation) -> str:
        """The fault that this call meets, empty for none."""
        waiting = self.faults[operation]
        return waiting.popleft() if waiting else ""

    def later(self, after: timedelta, act: Callable[[datetime], object]) -> None:
        """Something happens at that time, whoever is still interested by then."""
        self._under_way.append((self.clock.now() + after, act))

    def catch_up(self) -> None:
        """Let happen what is due by now."""
        now = self.clock.now()
        due = sorted((entry for entry in self._under_way if entry[0] <= now), key=lambda entry: entry[0])
        self._under_way = [entry for entry in self._under_way if entry[0] > now]
        for at, act in due:
            act(at)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way

    def named(self, name: str) -> list[CloudMachine]:
        """All machines of a name, the gone ones too."""
        return [machine for machine in self.machines.values() if machine.name == name]

    def living(self) -> list[CloudMachine]:
        """Machines that are there."""
        return [machine for machine in self.machines.values() if machine.is_alive]

    def asked(self, operation: str, about: str) -> list[Request]:
        """The calls of a kind about one name or handle."""
        return [request for request in self.requests if (request.operation, request.about) == (operation, about)]

    def note(self, operation: str, about: str, *, said: str) -> None:
        """Keep a call."""
        self.requests.append(Request(operation, about, self.clock.now(), said))

    def create(self, order: MachineOrder, at: datetime) -> CloudMachine:
        """Make a machine, whether there is one of that name or not."""
        self._made += 1
        handle = order.name if self.names_are_unique else f"m{self._made}-{order.name}"
        machine = CloudMachine(order.name, handle, order, at, costs_after_exit=self.exited_machines_cost)
        self.machines[handle] = machine
        if self.boots_for:
            self.later(self.boots_for, lambda then: self.start(handle, then))
        else:
            self.start(handle, at)
        return machine

    def start(self, handle: str, at: datetime) -> None:
        """It runs, or runs again: a container that comes back."""
        machine = self.machines[handle]
        if machine.is_alive:
            self._change(machine, at)
            machine.started_at = machine.started_at or at
            machine.exited_at = machine.exit_code = None

    def exit(self, handle: str, code: int | None, at: datetime) -> None:
        """What ran on it has ended."""
        machine = self.machines[handle]
        if machine.is_running:
            self._change(machine, at)
            machine.exited_at, machine.exit_code = at, code

    def end(self, handle: str, at: datetime) -> None:
        """It is gone: released, or taken away."""
        machine = self.machines.get(handle)
        if machine is not None and machine.is_alive:
            self._change(machine, at)
            machine.ended_at = max(at, machine.created_at)

    def stale_state(self, machine: CloudMachine) -> MachineState:
        """What was so before the last change."""
        return machine.before or machine.state

    def stale_list(self) -> list[tuple[CloudMachine, MachineState]]:
        """The list as it was a while ago: new machines are missing, those that changed look as before."""
        since = self.clock.now() - STALE
        old = [machine for machine in self.machines.values() if machine.created_at <= since]
        return [
            (machine, self.stale_state(machine) if machine.changed_at and machine.changed_at > since else machine.state)
            for machine in old
        ]

    def bill(self, handle: str) -> MicroUsd | None:
        """What the provider will ask for: None while it does not know."""
        machine = self.machines.get(handle)
        if self.bill_factor_percent is None or machine is None or machine.started_at is None:
            return None
        until = machine.costs_until or self.clock.now()
        honest = cost_of(until - machine.started_at, MicroUsd(self.price_micro_usd_per_hour))
        return MicroUsd(honest * self.bill_factor_percent // 100)

    def _change(self, machine: CloudMachine, at: datetime) -> None:
        machine.before, machine.changed_at = machine.state, at
