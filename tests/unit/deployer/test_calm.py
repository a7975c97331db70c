"""How long a job that is well waits for its next look."""

from datetime import timedelta

import pytest

from stoker_deployer.jobs.calm import Calm
from tests.unit.deployer.rows import POLICY


@pytest.mark.parametrize(
    ("live", "seconds"),
    [
        (0, 2),  # the shortest pause of the policy
        (1_000, 2),
        (2_500, 5),  # 500 looks a second
        (5_000, 10),
        (100_000, 60),  # the longest
    ],
)
def test_the_more_jobs_live_the_longer_one_that_is_well_waits(live: int, seconds: float) -> None:
    calm = Calm(POLICY, looks_per_second=500)
    calm.count(live)
    assert calm.pause == timedelta(seconds=seconds)


def test_before_anything_is_counted_looks_are_frequent() -> None:
    assert Calm(POLICY, looks_per_second=500).pause == POLICY.active_check
