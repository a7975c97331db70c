"""When a loss is in trouble, and when it is not."""

import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.storing.loss import LossRules, LossState, judge
from stoker_metrics.storing.progress import Progress, advance
from stoker_metrics.storing.schemas import Received
from stoker_shared.rpc.metrics import LossTrouble, MetricsBatch, Point

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULES = LossRules()


def point(number: int, **values: float | None) -> Point:
    return Point(sequence=number, step=number * 10, at=NOW, values=values)


def play(losses: list[float | None], rules: LossRules = RULES) -> list[LossTrouble | None]:
    """What is said after each point."""
    state, said = LossState(), []
    for number, loss in enumerate(losses, 1):
        state, trouble = judge(state, point(number, loss=loss), rules)
        said.append(trouble)
    return said


def first_trouble(losses: list[float | None]) -> int | None:
    """At which point, counted from 1."""
    return next((number for number, trouble in enumerate(play(losses), 1) if trouble), None)


FALLING: list[float | None] = [3.0 * math.exp(-step / 30) + 0.3 for step in range(200)]


@pytest.mark.parametrize(
    "losses",
    [
        FALLING,
        [*FALLING, *[5.0] * 10, *[0.4] * 50],  # a spike that passes
        [2.0] * 500,
        [2.0, *[3.9] * 300],  # less than twice its best
        [0.001] * 20 + [0.3] * 200,  # all is learned: small numbers jump
        [-0.5, -0.2, 0.1, -0.4] * 50,  # rewards
        [None, 1.0, None, 1.0] * 20,
        [random.Random(1).uniform(0.8, 1.2) for _ in range(1000)],
    ],
    ids=["falls", "spike", "flat", "a bit worse", "near zero", "negative", "single NaNs", "noise"],
)
def test_what_is_no_trouble(losses: list[float | None]) -> None:
    assert first_trouble(losses) is None


def test_a_loss_that_stays_far_above_its_best_diverges_after_twenty_points() -> None:
    diverging = [*FALLING, *[9.0] * 40]
    found = first_trouble(diverging)
    assert found == 200 + 20
    trouble = play(diverging)[found - 1]
    assert trouble is not None
    assert (trouble.kind, trouble.step) == ("diverging", 2200)
    assert "its best was 0.3" in trouble.detail
    assert "for 20 points" in trouble.detail


def test_a_loss_that_grows_without_end_diverges() -> None:
    assert first_trouble([1.0 * 1.05**step for step in range(200)]) is not None


def test_a_loss_that_comes_down_again_begins_anew() -> None:
    assert first_trouble([1.0, *[9.0] * 15, *[0.1] * 30, *[9.0] * 15, *[0.1] * 30]) is None


def test_two_losses_in_a_row_that_are_no_numbers_are_trouble() -> None:
    assert first_trouble([1.0, None, 1.0, None, None]) == 5
    trouble = play([1.0, None, None])[-1]
    assert trouble is not None
    assert (trouble.kind, trouble.step) == ("non_finite", 30)


def test_points_without_a_loss_say_nothing() -> None:
    state, trouble = judge(LossState(), point(1, eval_loss=None, reward=-3.0), RULES)
    assert (state, trouble) == (LossState(), None)


@given(st.lists(st.floats(0.5, 1.0), min_size=1, max_size=80))
def test_a_loss_that_never_doubles_is_never_in_trouble(losses: list[float]) -> None:
    assert first_trouble(list(losses)) is None


def test_trouble_is_told_once_and_stays() -> None:
    known, told = Progress(), []
    for start in range(1, 60, 3):
        points = [point(number, loss=1.0 if number < 4 else 9.0) for number in range(start, start + 3)]
        batch = MetricsBatch(job_id="job-00000000000000aa", attempt=1, points=points)
        for _ in range(2):  # each batch comes twice
            known, facts = advance(known, Received(batch, NOW), RULES)
            told += facts
    assert [fact.kind for fact in told if isinstance(fact, LossTrouble)] == ["diverging"]
    assert known.loss_trouble == told[0]
