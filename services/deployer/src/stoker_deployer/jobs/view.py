"""All that one decision is made from: the rows, what the provider and the pod said, the time, the thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stoker_deployer.jobs.policy import Policy
from stoker_deployer.jobs.tables import Attempt, Cancellation, Job
from stoker_deployer.ledger.book import Book
from stoker_deployer.providers import Exited, Gone, Machine, MachineState, Unknown
from stoker_deployer.retrying.tables import OfferCooldown, OfferKey
from stoker_shared.money import MicroUsd, cost_of
from stoker_shared.rpc.metrics import AttemptReport


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job as the database has it. `ran_before` is machine time of earlier attempts.

    `earlier` are the attempts before `attempt`, in order. `cooldowns` and `keys` (the owner's newest, by provider) are
    read only for jobs that are queued.
    """

    job: Job
    attempt: Attempt | None
    cancellation: Cancellation | None
    book: Book
    ran_before: timedelta = timedelta()
    earlier: tuple[Attempt, ...] = ()
    cooldowns: Mapping[OfferKey, OfferCooldown] = field(default_factory=dict)
    keys: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the outside world said in this look.

    `machine` is the state of the recorded machine; without one, `found` holds what bears the attempt's name.
    `report` and `has_artifacts` are None if they could not be asked, or need not be.
    """

    machine: MachineState = field(default_factory=lambda: Unknown("not asked"))
    found: tuple[Machine, ...] = ()
    report: AttemptReport | None = None
    has_artifacts: bool | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A snapshot, a sight and the circumstances."""

    now: datetime
    snapshot: Snapshot
    sight: Sight
    policy: Policy
    providers: frozenset[str]
    """Names of those that the owner can use."""
    watching_since: datetime
    """Nobody was watching before: silence of a pod does not count from earlier than this."""
    calm_pause: timedelta | None = None
    """How long until the next look if all is well; None: `policy.active_check`."""
    is_fresh_intent: bool = False
    """The intent was committed by this very claim, so nobody can have asked for the machine yet."""

    @property
    def job(self) -> Job:
        """The job's row."""
        return self.snapshot.job

    @property
    def attempt(self) -> Attempt:
        """The present attempt's row; only in statuses that have one."""
        if self.snapshot.attempt is None:
            raise LookupError(f"{self.job.job_id} is {self.job.status} without an attempt")
        return self.snapshot.attempt

    @property
    def price(self) -> MicroUsd:
        """The attempt's price for an hour."""
        return MicroUsd(self.attempt.price_micro_usd_per_hour)

    @property
    def billed_until(self) -> datetime:
        """Up to when the machine has cost money, as far as is known. A date of the provider's own is the best word."""
        machine = self.sight.machine
        if isinstance(machine, Exited | Gone) and machine.ended_at is not None:
            return min(machine.ended_at, self.now)
        return self.attempt.billing_ended_at or self.machine_ended_at or self.now

    @property
    def machine_ended_at(self) -> datetime | None:
        """When the machine ceased to cost, if it has."""
        machine = self.sight.machine
        if isinstance(machine, Exited | Gone) and machine.ended_at is not None:
            return min(machine.ended_at, self.now)
        if isinstance(machine, Gone):
            return self.attempt.absent_since or self.now
        return None

    @property
    def cost(self) -> MicroUsd:
        """What the attempt's machine has cost up to now."""
        started = self.attempt.billing_started_at
        return cost_of(self.billed_until - started, self.price) if started else MicroUsd(0)
