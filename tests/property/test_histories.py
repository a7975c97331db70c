"""Whatever happens in whatever order: one machine per attempt, every cent accounted for, every job comes to its end."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.histories import Histories
from tests.property.world import Ground

_STEPS = 20


def _play(ground: Ground, *, histories: int) -> None:
    # A failure prints its steps and how to play them again; without one, nothing.
    Histories.ground, Histories.ran = ground, 0
    chosen = settings(
        max_examples=histories,
        stateful_step_count=_STEPS,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Histories, settings=chosen)
    assert Histories.ran >= histories


def test_200_histories(ground: Ground) -> None:
    _play(ground, histories=200)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_2000_histories(ground: Ground) -> None:
    _play(ground, histories=2000)
