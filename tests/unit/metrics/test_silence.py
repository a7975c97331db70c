"""When a pod may be called silent."""

from datetime import UTC, datetime, timedelta

from stoker_metrics.attempts.silence import Hearing
from stoker_shared.clock import ManualClock

START = datetime(2026, 11, 22, tzinfo=UTC)


def hearing(clock: ManualClock) -> Hearing:
    return Hearing(clock=clock, silent_after=timedelta(seconds=15), grace=timedelta(seconds=45))


def test_a_pod_heard_lately_is_told_at_any_time() -> None:
    clock = ManualClock(START)
    assert hearing(clock).proves_silence(START - timedelta(seconds=14))


def test_silence_counts_only_after_the_grace() -> None:
    clock = ManualClock(START)
    ours = hearing(clock)
    long_ago = START - timedelta(hours=1)
    assert not ours.proves_silence(long_ago)
    clock.advance(timedelta(seconds=44))
    assert not ours.proves_silence(long_ago)
    clock.advance(timedelta(seconds=1))
    assert ours.proves_silence(long_ago)


def test_a_failure_begins_a_new_grace() -> None:
    clock = ManualClock(START)
    ours = hearing(clock)
    clock.advance(timedelta(hours=1))
    ours.failed()
    assert not ours.proves_silence(START)
    clock.advance(timedelta(seconds=45))
    assert ours.proves_silence(START)
