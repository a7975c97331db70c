"""Order and limits of event streams, without servers."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_api.errors import TooManyStreams
from stoker_api.following.hub import LiveHub, Telemetry
from stoker_api.following.ordering import sendable
from tests.unit.api.examples import NOW

PATIENCE = timedelta(seconds=5)
JOB = "job-0000000000000001"


@dataclass
class Stored:
    sequence: int
    recorded_at: datetime = NOW


def sent(sequences: list[int], *, after: int = 0, now: datetime = NOW) -> list[int]:
    events = [Stored(sequence) for sequence in sequences]
    return [event.sequence for event in sendable(events, after=after, now=now, patience=PATIENCE)]


def test_a_gapless_row_of_events_is_sent_whole() -> None:
    assert sent([3, 4, 5], after=2) == [3, 4, 5]


def test_an_event_behind_a_gap_waits() -> None:
    assert sent([1, 3, 4]) == [1]


def test_patience_ends() -> None:
    assert sent([1, 3, 4], now=NOW + PATIENCE) == [1, 3, 4]


@given(st.sets(st.integers(1, 40)), st.integers(0, 40), st.integers(0, 10))
def test_what_is_sent_is_always_in_order_and_never_repeated(stored: set[int], after: int, seconds: int) -> None:
    sequences = sorted(sequence for sequence in stored if sequence > after)
    result = sent(sequences, after=after, now=NOW + timedelta(seconds=seconds))
    assert result == sequences[: len(result)]
    if seconds < 5:
        assert result == list(range(after + 1, after + 1 + len(result)))


def a_hub(**limits: int) -> LiveHub:
    return LiveHub(**{"queue_size": 3, "max_feeds": 2, **limits})


def test_a_slow_client_loses_the_oldest_telemetry_and_is_told_how_much() -> None:
    hub = a_hub()
    with hub.follow(JOB) as feed:
        for number in range(5):
            hub.push(JOB, Telemetry("log", str(number)))
        assert feed.take() == (2, [Telemetry("log", "2"), Telemetry("log", "3"), Telemetry("log", "4")])
        assert feed.take() == (0, [])


def test_only_followers_of_the_job_hear_of_it() -> None:
    hub = a_hub()
    with hub.follow(JOB) as feed, hub.follow("job-0000000000000002") as other:
        hub.push(JOB, Telemetry("log", "x"))
        assert feed.take() == (0, [Telemetry("log", "x")])
        assert other.take() == (0, [])


def test_a_closed_stream_leaves_nothing_behind() -> None:
    hub = a_hub()
    with pytest.raises(RuntimeError), hub.follow(JOB):
        raise RuntimeError
    assert hub.feed_count == 0
    assert not hub.is_followed(JOB)


def test_streams_beyond_the_limit_are_refused() -> None:
    hub = a_hub()
    with hub.follow(JOB), hub.follow(JOB), pytest.raises(TooManyStreams):
        hub.require_room()
    hub.require_room()


async def test_a_wake_that_comes_before_the_wait_is_not_lost() -> None:
    hub = a_hub()
    with hub.follow(JOB) as feed:
        hub.wake(JOB)
        await feed.wait(60)  # returns at once, or the test runs into its time limit
