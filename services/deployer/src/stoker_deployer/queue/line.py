"""The line of jobs that wait, as a pure function: who comes when, who may begin now, and what the others wait for.

Order: higher priority first; then the owner who holds fewest machines; of those with as many, the one who was given one
longest ago; then the older job. Each place counts as a machine of its owner for the places behind it, so owners take
turns however many jobs each of them has.
"""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """How many attempts may have machines at once. None: no limit of its own."""

    everyone: int
    per_user: int | None = None
    per_project: int | None = None
    per_provider: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job. `provider` None: not known before it looks. `held_back`: what it waits for beside a slot."""

    job_id: str
    owner: str
    project: str
    provider: str | None
    priority: int
    created_at: datetime
    held_back: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """So many attempts of one owner and project have machines at one provider."""

    owner: str
    project: str
    provider: str | None
    machines: int


Turns = Mapping[str, datetime]
"""When each owner was last given a machine."""

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """A job's place, 1 for the first. `ahead`: those before it that compete with it for slots.

    `obstacle` is what it waits for, "" if it may begin now.
    """

    waiting: Waiting
    position: int
    ahead: int
    obstacle: str

    @property
    def may_begin(self) -> bool:
        """Whether there is a slot for it now."""
        return not self.obstacle


class Machines:
    """Who holds how many machines; places that are given away count as held."""

    def __init__(self, holdings: Iterable[Holding], limits: Limits) -> None:
        self._limits = limits
        self._by_project: Counter[tuple[str, str]] = Counter()
        self._by_provider: Counter[str | None] = Counter()
        self.by_owner: Counter[str] = Counter()
        self.total = 0
        for holding in holdings:
            self._add(holding.owner, holding.project, holding.provider, machines=holding.machines)

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return max(self._limits.everyone - self.total, 0)

    def own_obstacle(self, job: Waiting) -> str:
        """A limit of the job's own user or project, if one is reached."""
        limits = self._limits
        if limits.per_user is not None and self.by_owner[job.owner] >= limits.per_user:
            return f"user limit {limits.per_user}"
        if limits.per_project is not None and self._by_project[job.owner, job.project] >= limits.per_project:
            return f"limit {limits.per_project} of project {job.project}"
        return ""

    def shared_obstacle(self, job: Waiting) -> str:
        """A limit that it shares with jobs of other users, if one is reached."""
        most = self._limits.per_provider.get(job.provider) if job.provider else None
        if most is not None and self._by_provider[job.provider] >= most:
            return f"provider {job.provider} is full (limit {most})"
        return f"all {self._limits.everyone} slots are taken" if self.free == 0 else ""

    def obstacle(self, job: Waiting) -> str:
        """What keeps a job from a slot, "" if nothing does."""
        return self.own_obstacle(job) or self.shared_obstacle(job)

    def take(self, job: Waiting) -> None:
        """Count a job as holding a machine."""
        self._add(job.owner, job.project, job.provider, machines=1)

    def _add(self, owner: str, project: str, provider: str | None, *, machines: int) -> None:
        self.total += machines
        self.by_owner[owner] += machines
        self._by_project[owner, project] += machines
        self._by_provider[provider] += machines


def line_up(waiting: Iterable[Waiting], holdings: Iterable[Holding], limits: Limits, turns: Turns) -> list[Place]:
    """All that wait, in order. Who may begin has its slot counted, so all of them may begin at once."""
    machines, ahead = Machines(holdings, limits), 0
    places: list[Place] = []
    for job in _in_turn(waiting, Counter(machines.by_owner), turns):
        own = machines.own_obstacle(job)
        obstacle = job.held_back or own or machines.shared_obstacle(job)
        places.append(Place(job, position=len(places) + 1, ahead=ahead, obstacle=obstacle))
        if not obstacle:
            machines.take(job)
        if not (job.held_back or own):
            ahead += 1
    return places


def _in_turn(waiting: Iterable[Waiting], held: Counter[str], turns: Turns) -> Iterator[Waiting]:
    def turn(job: Waiting) -> tuple[int, int, datetime, datetime, str, str]:
        last = turns.get(job.owner, _NEVER)
        return -job.priority, held[job.owner], last, job.created_at, job.job_id, job.owner

    lines: dict[str, deque[Waiting]] = defaultdict(deque)
    for job in sorted(waiting, key=lambda job: (-job.priority, job.created_at, job.job_id)):
        lines[job.owner].append(job)
    first = [turn(line[0]) for line in lines.values()]
    heapq.heapify(first)
    while first:
        owner = heapq.heappop(first)[-1]
        job = lines[owner].popleft()
        # What could not begin anyway takes no turn away from its owner.
        held[owner] += not job.held_back
        if lines[owner]:
            heapq.heappush(first, turn(lines[owner][0]))
        yield job
