"""Histories: jobs, cancels, faults of the provider, crashes of deployers and jumps of the clock, in any order.

Each step is a moment: something happens outside, time passes, a deployer works. After each, all checks of checks.ALWAYS
hold; at the end the faults are off, the clock runs on, and all checks of checks.AT_THE_END hold too.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from stoker_shared.money import ONE_USD
from tests.property.keys import change_key
from tests.property.world import CLOUDS, LAST_WORDS, REPLICAS, Ground, World
from tests.simulators.hostile.faults import FAULTS
from tests.simulators.hostile.line import Fate
from tests.simulators.hostile.peers import GONE_DATASET, PHASES

_MOST_JOBS = 3
_ANY = st.integers(0, 5)
_SHORT = [timedelta(seconds=seconds) for seconds in (1, 3, 3, 6, 6, 21, 31)]
_LONG = [timedelta(seconds=seconds) for seconds in (121, 300, 1000, 4000, 90_000)]
_BACK = [timedelta(seconds=seconds) for seconds in (-3, -40, -700)]
_SPANS = st.sampled_from([*_SHORT, *_SHORT, *_SHORT, *_LONG, *_BACK])
_KINDS = st.sampled_from(["kill", "stall", "cut"])
# Mostly nothing; else at a point that a piece of work may come to.
_FATES = st.one_of(st.none(), st.none(), st.builds(Fate, _KINDS, st.integers(0, 8)), st.builds(Fate, _KINDS, _ANY))
_FAULTS = [(operation, fault) for operation, kinds in FAULTS.items() for fault in kinds]
_JOBS = st.fixed_dictionaries(
    {
        "budget_micro_usd": st.sampled_from([ONE_USD, ONE_USD, ONE_USD // 1000, ONE_USD // 20, 40 * ONE_USD]),
        "max_attempts": st.integers(1, 3),
        "max_duration_seconds": st.sampled_from([86_400, 86_400, 60]),
        "dataset_version_id": st.sampled_from([*["dataset-00000000000000aa"] * 9, GONE_DATASET]),
    },
)
_BEGUN = st.lists(st.tuples(_JOBS, st.booleans()), min_size=0, max_size=2)
# What a pod says on its way, more often than how it ends.
_WORDS = st.sampled_from([*PHASES, *PHASES, "step", "heartbeat", "success", *LAST_WORDS])

_Mishap = tuple[Callable[..., None], tuple[Any, ...]]


def _mishap(method: Callable[..., None], *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[_Mishap]:
    return st.tuples(st.just(method), st.tuples(*arguments))


_FAULT = _mishap(World.break_next, st.sampled_from(CLOUDS), st.sampled_from(_FAULTS))
_WORD = _mishap(World.speak_and_nudge, _ANY, _WORDS, st.booleans())
_MISFORTUNE = _mishap(World.misfortune, _ANY, st.sampled_from(["vanish", "exit", "restart", "fall silent"]))
_OUTAGE = _mishap(World.outage, st.sampled_from(["metrics", "dataset_gateway", *CLOUDS]), st.booleans())
_LIMITS = st.sampled_from([None, 0, ONE_USD // 100, ONE_USD, 2 * ONE_USD])
_LIMIT = _mishap(World.limit, st.sampled_from(["user", "project"]), _LIMITS)
_KEYS = st.sampled_from(["set", "set", "removed"])
_KEY = _mishap(change_key, _KEYS, st.integers(0, REPLICAS - 1))
_CANCEL = _mishap(World.cancel_any, _ANY)
_KILL = _mishap(World.kill, st.integers(0, REPLICAS - 1))
_RESUME = _mishap(World.resume_any, _ANY)
_MISHAPS = st.lists(
    st.one_of(
        _FAULT,
        _FAULT,
        _FAULT,
        _WORD,
        _WORD,
        _WORD,
        _MISFORTUNE,
        _OUTAGE,
        _LIMIT,
        _KEY,
        _CANCEL,
        _KILL,
        _RESUME,
        _RESUME,
    ),
    max_size=3,
)


class Histories(RuleBasedStateMachine):
    """`ground` is set by the test that runs this."""

    ground: ClassVar[Ground]
    ran: ClassVar[int] = 0

    @initialize(boots_for=st.sampled_from([timedelta(0), timedelta(0), timedelta(seconds=40)]), begun=_BEGUN)
    def begin(self, boots_for: timedelta, begun: list[tuple[dict[str, Any], bool]]) -> None:
        """A fresh world, and the first jobs; some are on their way already."""
        type(self).ran += 1
        self.world = World(self.ground, boots_for=boots_for)
        for job, _ in begun:
            self.world.order(**job)
            self.world.deliver(0, 0)
        self.world.pass_time(boots_for + timedelta(seconds=3))
        self.world.work(0)
        for machine, (_, is_training) in zip(self.world.machines(), begun, strict=False):
            if is_training:
                self.world.speak(machine, "training")

    @rule(job=_JOBS, to=_ANY, fate=_FATES)
    @precondition(lambda self: len(self.world.commands) < _MOST_JOBS)
    def order(self, job: dict[str, Any], to: int, fate: Fate | None) -> None:
        """A user launches a job."""
        self.world.order(**job)
        self.world.deliver(-1, to % REPLICAS, fate)
        self.world.check()

    @rule(mishaps=_MISHAPS, which=_ANY, to=_ANY, fate=_FATES, again=st.booleans())
    @precondition(lambda self: self.world.inbox)
    def deliver(self, mishaps: list[_Mishap], which: int, to: int, fate: Fate | None, *, again: bool) -> None:
        """The broker delivers a command, perhaps not for the last time."""
        self._happen(mishaps)
        self.world.deliver(which % len(self.world.inbox), to % REPLICAS, fate, again=again)
        self.world.check()

    @rule(mishaps=_MISHAPS, after=_SPANS, by=_ANY, fate=_FATES)
    def work(self, mishaps: list[_Mishap], after: timedelta, by: int, fate: Fate | None) -> None:
        """Time passes, and a deployer works on what is due."""
        self._happen(mishaps)
        self.world.pass_time(after)
        self.world.work(by % REPLICAS, fate)
        self.world.check()

    @rule(mishaps=_MISHAPS, spans=st.lists(_SPANS, min_size=2, max_size=4), by=_ANY)
    def work_on(self, mishaps: list[_Mishap], spans: list[timedelta], by: int) -> None:
        """A deployer works for a while."""
        self._happen(mishaps)
        for after in spans:
            self.world.pass_time(after)
            self.world.work(by % REPLICAS)
        self.world.check()

    @rule(mishaps=_MISHAPS, by=_ANY, fate=_FATES)
    def sweep(self, mishaps: list[_Mishap], by: int, fate: Fate | None) -> None:
        """Leases are renewed, orphans are swept."""
        self._happen(mishaps)
        self.world.renew(by % REPLICAS)
        self.world.sweep(by % REPLICAS, fate)
        self.world.check()

    def teardown(self) -> None:
        """The faults are off; all comes to an end."""
        if not hasattr(self, "world"):
            return
        try:
            self.world.run_on()
        finally:
            note("\n".join(self.world.diary))
            self.world.abandon()

    def _happen(self, mishaps: list[_Mishap]) -> None:
        for method, arguments in mishaps:
            method(self.world, *arguments)
