"""How a report moves what is known of an attempt. Pure rules: what is late or doubled never moves it back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from stoker_metrics.storing.loss import LossRules, LossState, judge
from stoker_metrics.storing.schemas import Received
from stoker_shared.rpc.metrics import Exit, ExitFacts, Heartbeat, LossTrouble, MetricsBatch, Phase, Point

_sequence = attrgetter("sequence")
PHASE_ORDER: tuple[Phase, ...] = ("preparing", "training", "saving")


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of an attempt: the part of its row that reports move.

    `older_values`: which points told those of the latest values that the point of `point_sequence` did not tell.
    """

    phase: Phase | None = None
    last_heard_at: datetime | None = None
    last_progress_at: datetime | None = None
    step: int = 0
    heartbeat_sequence: int = 0
    total_steps: int = 0
    seconds_left: float | None = None
    tokens_per_second: float | None = None
    landing_seconds: float | None = None
    point_sequence: int = 0
    latest_values: dict[str, float | None] = field(default_factory=dict)
    older_values: dict[str, int] = field(default_factory=dict)
    exit_facts: ExitFacts | None = None
    phase_since: datetime | None = None
    loss_state: LossState = field(default_factory=LossState)
    loss_trouble: LossTrouble | None = None


@dataclass(frozen=True, slots=True)
class PhaseEntered:
    """The pod entered another phase."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Exited:
    """The pod told how it ends."""

    facts: ExitFacts


Fact = PhaseEntered | Exited | LossTrouble


def advance(known: Progress, received: Received, rules: LossRules | None = None) -> tuple[Progress, list[Fact]]:
    """What is known after a report, and what is worth telling."""
    heard = replace(known, last_heard_at=_later(known.last_heard_at, received.received_at))
    if isinstance(received.message, MetricsBatch):
        return _after_points(heard, received.message, received.received_at, rules or LossRules())
    rule = _RULES.get(type(received.message))
    return rule(heard, received.message, received.received_at) if rule else (heard, [])


def _after_heartbeat(known: Progress, heartbeat: Heartbeat, _at: datetime) -> tuple[Progress, list[Fact]]:
    # The service's own time of receipt: the broker took the message a moment later.
    moved = _stepped(known, heartbeat.step, heartbeat.received_at)
    if heartbeat.sequence > known.heartbeat_sequence:
        moved = replace(
            moved,
            heartbeat_sequence=heartbeat.sequence,
            total_steps=heartbeat.total_steps,
            seconds_left=heartbeat.seconds_left,
            tokens_per_second=heartbeat.tokens_per_second,
            landing_seconds=heartbeat.landing_seconds,
        )
    if known.phase is not None and PHASE_ORDER.index(heartbeat.phase) <= PHASE_ORDER.index(known.phase):
        return moved, []
    since = _later(known.phase_since, heartbeat.received_at)
    return replace(moved, phase=heartbeat.phase, phase_since=since), [PhaseEntered(heartbeat.phase)]


def _after_points(known: Progress, batch: MetricsBatch, at: datetime, rules: LossRules) -> tuple[Progress, list[Fact]]:
    points = sorted(batch.points, key=_sequence)
    state, trouble, newest = known.loss_state, known.loss_trouble, known.point_sequence
    for point in points:
        if point.sequence > newest and trouble is None:
            state, trouble = judge(state, point, rules)
        newest = max(newest, point.sequence)
    values, older = _latest_values(known, points, newest)
    moved = replace(
        _stepped(known, max((point.step for point in points), default=0), at),
        latest_values=values,
        older_values=older,
        point_sequence=newest,
        loss_state=state,
        loss_trouble=trouble,
    )
    return moved, [trouble] if trouble and not known.loss_trouble else []


def _latest_values(
    known: Progress, points: Sequence[Point], newest: int
) -> tuple[dict[str, float | None], dict[str, int]]:
    """Latest and older values. What is told rarely, like an evaluation, stays until it is told again."""
    values = dict(known.latest_values)
    told_by = dict.fromkeys(values, known.point_sequence) | known.older_values
    for point in points:
        for name, value in point.values.items():
            if told_by.get(name, 0) < point.sequence:
                values[name], told_by[name] = value, point.sequence
    return values, {name: sequence for name, sequence in told_by.items() if sequence != newest}


def _after_exit(known: Progress, message: Exit, _at: datetime) -> tuple[Progress, list[Fact]]:
    if known.exit_facts is not None:
        return known, []
    return replace(known, exit_facts=message.facts), [Exited(message.facts)]


_RULES: dict[type, Callable[[Progress, Any, datetime], tuple[Progress, list[Fact]]]] = {
    Heartbeat: _after_heartbeat,
    Exit: _after_exit,
}


def _stepped(known: Progress, step: int, at: datetime) -> Progress:
    if step <= known.step:
        return known
    return replace(known, step=step, last_progress_at=_later(known.last_progress_at, at))


def _later(known: datetime | None, moment: datetime) -> datetime:
    return moment if known is None else max(known, moment)
