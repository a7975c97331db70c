"""The memory of who may report: whatever comes late or doubled, the newest state counts."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.attempts.schemas import Standing
from stoker_metrics.attempts.standings import Memory
from stoker_shared.rpc.metrics import Control

JOB = "job-00000000000000aa"
END = datetime(2026, 11, 30, tzinfo=UTC)


def standing(version: int, *, is_revoked: bool = False) -> Standing:
    return Standing(
        job_id=JOB,
        attempt=1,
        version=version,
        is_revoked=is_revoked,
        control=Control(reason=str(version)),
        tokens={"a" * 64: END},
    )


@given(st.lists(st.integers(min_value=1, max_value=9), min_size=1))
def test_in_any_order_the_newest_counts(versions: list[int]) -> None:
    memory = Memory()
    for version in versions:
        memory.apply(standing(version))
    known = memory.of_token("a" * 64)
    assert known is not None
    assert known.version == max(versions)


@given(st.integers(min_value=1, max_value=9), st.integers(min_value=1, max_value=9))
def test_what_is_learned_while_a_list_is_read_outlives_it(listed: int, learned: int) -> None:
    memory = Memory()
    memory.begin_list()
    memory.apply(standing(learned, is_revoked=True))
    memory.take_list([standing(listed)])
    known = memory.of_token("a" * 64)
    assert known is not None
    assert known.version == max(listed, learned)


def test_what_a_list_lacks_is_forgotten() -> None:
    memory = Memory()
    memory.apply(standing(1))
    memory.begin_list()
    memory.take_list([])
    assert memory.of_token("a" * 64) is None
    memory.apply(standing(1))
    assert memory.of_token("a" * 64) == standing(1)


def test_a_revoked_attempt_stays_revoked_when_an_older_state_comes_late() -> None:
    memory = Memory()
    memory.apply(standing(2, is_revoked=True))
    memory.apply(standing(1))
    known = memory.of_token("a" * 64)
    assert known is not None
    assert known.is_revoked
