"""Whatever happens in whatever order: one machine per attempt, every cent accounted for, every job comes to its end.

A failure shows the shortest history that was found, as calls of the rules in histories.py, and the seed: set
STOKER_HISTORIES_SEED to play the same histories again.
"""

import os
import secrets

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.histories import Histories
from tests.property.world import Ground

_STEPS = 10


def _play(ground: Ground, *, histories: int) -> None:
    chosen_seed = int(os.environ.get("STOKER_HISTORIES_SEED") or secrets.randbits(32))
    print(f"STOKER_HISTORIES_SEED={chosen_seed}")  # noqa: T201 - pytest shows it with a failure, or with -rP
    Histories.ground, Histories.ran = ground, 0
    chosen = settings(
        max_examples=histories,
        stateful_step_count=_STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    seed(chosen_seed)(Histories)
    run_state_machine_as_test(Histories, settings=chosen)
    assert Histories.ran >= histories


@pytest.mark.timeout(1800)
def test_200_histories(ground: Ground) -> None:
    _play(ground, histories=200)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_2000_histories(ground: Ground) -> None:
    _play(ground, histories=2000)
