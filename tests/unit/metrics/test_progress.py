"""How reports move what is known of an attempt: forward, in whatever order they come."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.storing.progress import PHASE_ORDER, Exited, Fact, PhaseEntered, Progress, advance
from stoker_metrics.storing.schemas import Received, Telemetry
from stoker_shared.rpc.metrics import Alert, Exit, ExitFacts, Heartbeat, LogBatch, MetricsBatch, Point

JOB = "job-00000000000000aa"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


def beat(sequence: int, phase: Any = "training", **fields: Any) -> Heartbeat:
    moment = at(sequence)
    return Heartbeat(job_id=JOB, attempt=1, sequence=sequence, at=moment, received_at=moment, phase=phase, **fields)


def batch(*sequences: int, **values: float | None) -> MetricsBatch:
    points = [Point(sequence=n, step=n, at=at(n), values=values or {"loss": float(n)}) for n in sequences]
    return MetricsBatch(job_id=JOB, attempt=1, points=points)


def ended(reason: str = "success") -> Exit:
    return Exit(job_id=JOB, attempt=1, sequence=1, facts=ExitFacts(at=NOW, exit_code=0, reason=reason))


def play(*messages: Telemetry) -> tuple[Progress, list[Fact]]:
    known, told = Progress(), []
    for seconds, message in enumerate(messages):
        known, facts = advance(known, Received(message, at(seconds)))
        told += facts
    return known, told


reports = st.lists(
    st.one_of(
        st.builds(
            beat,
            st.integers(1, 30),
            st.sampled_from(PHASE_ORDER),
            step=st.integers(0, 50),
            total_steps=st.integers(0, 50),
        ),
        st.builds(batch, st.integers(1, 30), st.integers(1, 30), loss=st.floats(0, 1)),
        st.builds(ended, st.sampled_from(["success", "out_of_memory"])),
        st.just(LogBatch(job_id=JOB, attempt=1, lines=[])),
        st.just(Alert(job_id=JOB, attempt=1, sequence=1, at=NOW, level="warning", code="c", message="m")),
    ),
    max_size=25,
)


@given(reports)
def test_nothing_ever_moves_backwards(messages: list[Telemetry]) -> None:
    known = Progress()
    for number, message in enumerate(messages):
        after, _ = advance(known, Received(message, at(number % 7)))
        assert after.step >= known.step
        assert after.heartbeat_sequence >= known.heartbeat_sequence
        assert after.point_sequence >= known.point_sequence
        assert _rank(after) >= _rank(known)
        assert known.last_heard_at is None or (after.last_heard_at or NOW) >= known.last_heard_at
        assert known.last_progress_at is None or (after.last_progress_at or NOW) >= known.last_progress_at
        assert known.exit_facts is None or after.exit_facts == known.exit_facts
        assert set(known.latest_values) <= set(after.latest_values)
        known = after


@given(reports)
def test_the_same_reports_again_change_nothing_and_tell_nothing(messages: list[Telemetry]) -> None:
    known, _ = play(*messages)
    again = known
    for message in messages:
        again, facts = advance(again, Received(message, NOW))
        assert facts == []
    assert again == known


@given(
    st.permutations([beat(1, "preparing"), beat(2), beat(3, step=5), beat(4, "saving", step=9), batch(1, 2), batch(3)])
)
def test_the_order_of_arrival_does_not_matter_at_the_end(messages: list[Telemetry]) -> None:
    known, told = play(*messages)
    ordered, _ = play(beat(1, "preparing"), beat(2), beat(3, step=5), beat(4, "saving", step=9), batch(1, 2), batch(3))
    # When things were heard, and the loss, which is judged in the order of arrival, may differ.
    without_time = dict.fromkeys(("last_heard_at", "last_progress_at", "phase_since", "loss_state"))
    assert replace(known, **without_time) == replace(ordered, **without_time)
    assert told[-1] == PhaseEntered("saving")


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["loss", "eval_loss", "kl"]), st.none() | st.floats(0, 1)),
        min_size=1,
        max_size=8,
    ),
    st.data(),
)
def test_the_latest_value_of_each_metric_is_that_of_the_newest_point(
    values: list[dict[str, float | None]], data: st.DataObject
) -> None:
    points = [Point(sequence=n, step=n, at=NOW, values=told) for n, told in enumerate(values, start=1)]
    again = data.draw(st.permutations([*points, *points]))
    size = data.draw(st.integers(1, len(again)))
    batches = [again[first : first + size] for first in range(0, len(again), size)]
    known, _ = play(*(MetricsBatch(job_id=JOB, attempt=1, points=batch) for batch in batches))
    newest: dict[str, float | None] = {}
    for told in values:
        newest |= told
    assert known.latest_values == newest


@given(reports)
def test_each_phase_and_one_exit_are_told_at_most_once(messages: list[Telemetry]) -> None:
    _, told = play(*messages)
    phases = [PHASE_ORDER.index(fact.phase) for fact in told if isinstance(fact, PhaseEntered)]
    assert phases == sorted(set(phases))
    assert sum(isinstance(fact, Exited) for fact in told) <= 1


def test_a_value_that_is_told_rarely_stays() -> None:
    known, _ = play(batch(1, loss=1.0, eval_loss=0.9), batch(2, loss=0.5), batch(3, loss=None))
    assert known.latest_values == {"loss": None, "eval_loss": 0.9}


def test_a_point_that_is_in_a_batch_twice_is_judged_once() -> None:
    once, _ = play(batch(1, 2, 3))
    twice, _ = play(batch(1, 1, 2, 2, 3, 3))
    assert twice == once
    known, told = play(batch(1, 1, loss=None))
    assert known.loss_state.non_finite == 1
    assert not told, "one NaN is no trouble"


def test_progress_is_when_the_step_rose_and_not_when_something_was_heard() -> None:
    known, _ = play(beat(1, step=3), beat(2, step=3), LogBatch(job_id=JOB, attempt=1, lines=[]))
    assert known.last_progress_at == at(1)
    assert known.last_heard_at == at(2)


def test_only_the_first_exit_counts() -> None:
    known, told = play(ended("out_of_memory"), ended("success"))
    assert known.exit_facts is not None
    assert known.exit_facts.reason == "out_of_memory"
    assert len(told) == 1


def _rank(progress: Progress) -> int:
    return -1 if progress.phase is None else PHASE_ORDER.index(progress.phase)
