"""Order and limits of event streams, without servers."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_api.errors import TooManyStreams
from stoker_api.following.hub import LiveHub
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
            hub.push(JOB, f"{number}".encode())
        assert feed.take() == (2, [b"2", b"3", b"4"])
        assert feed.take() == (0, [])


def test_only_followers_of_the_job_hear_of_it() -> None:
    hub = a_hub()
    with hub.follow(JOB) as feed, hub.follow("job-0000000000000002") as other:
        hub.push(JOB, b"x")
        assert feed.take() == (0, [b"x"])
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


def in_a_minute() -> float:
    return asyncio.get_running_loop().time() + 60


async def test_a_wake_that_comes_before_the_wait_is_not_lost() -> None:
    hub = a_hub()
    with hub.follow(JOB) as feed:
        hub.wake(JOB)
        assert await feed.wait(in_a_minute())  # at once, or the test runs into its time limit


async def test_telemetry_alone_is_no_reason_to_ask_the_database() -> None:
    hub = a_hub()
    with hub.follow(JOB) as feed:
        hub.push(JOB, b"x")
        assert not await feed.wait(in_a_minute())
        hub.push(JOB, b"y")
        hub.wake(JOB)
        assert await feed.wait(in_a_minute())


async def test_when_nothing_happens_for_a_while_it_is_time_to_look() -> None:
    with a_hub().follow(JOB) as feed:
        assert await feed.wait(asyncio.get_running_loop().time())


def test_every_announcement_makes_what_was_read_before_out_of_date() -> None:
    hub = a_hub()
    before = hub.announced
    hub.wake(JOB)
    hub.wake_all()
    assert hub.announced == before + 2
