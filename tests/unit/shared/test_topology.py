"""Streams and consumers: what the broker would refuse, or accept and then lose."""

from itertools import combinations

import pytest

from stoker_shared.bus.retry import MAX_DELAY_SECONDS
from stoker_shared.outbox.relay import RelaySettings
from stoker_shared.topology import CONSUMERS, STREAMS, ConsumerSpec, StreamSpec, consumer
from tests.unit.shared.nats_subjects import covers, overlap

STREAM_BY_NAME = {stream.name: stream for stream in STREAMS}


def test_no_subject_lies_in_two_streams() -> None:
    subjects = [subject for stream in STREAMS for subject in stream.subjects]
    assert [pair for pair in combinations(subjects, 2) if overlap(*pair)] == []


def test_consumers_of_a_work_queue_do_not_overlap() -> None:
    queued = [spec for spec in CONSUMERS if STREAM_BY_NAME[spec.stream].retention == "workqueue"]
    assert len(queued) >= 2
    overlapping = [(a.name, b.name) for a, b in combinations(queued, 2) if overlap(a.filter_subject, b.filter_subject)]
    assert overlapping == []


@pytest.mark.parametrize("spec", CONSUMERS, ids=lambda spec: spec.name)
def test_a_consumer_reads_what_its_stream_holds(spec: ConsumerSpec) -> None:
    assert any(covers(subject, spec.filter_subject) for subject in STREAM_BY_NAME[spec.stream].subjects)


@pytest.mark.parametrize("spec", [*STREAMS, *CONSUMERS], ids=lambda spec: spec.name)
def test_names_are_short_and_can_be_tokens_of_a_subject(spec: StreamSpec | ConsumerSpec) -> None:
    assert len(spec.name) < 32
    assert spec.name.replace("_", "").isalnum()


def test_names_are_unique() -> None:
    assert len({spec.name for spec in CONSUMERS}) == len(CONSUMERS)
    assert len(STREAM_BY_NAME) == len(STREAMS)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_doubles_are_dropped_for_no_longer_than_messages_live(stream: StreamSpec) -> None:
    assert stream.duplicate_window <= stream.max_age


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_a_stream_is_bounded(stream: StreamSpec) -> None:
    assert stream.max_bytes > 0
    assert stream.max_age.total_seconds() > 0


def test_a_full_command_queue_refuses_instead_of_forgetting() -> None:
    assert STREAM_BY_NAME["COMMANDS"].discard == "new"


def test_the_memory_of_handled_messages_outlives_the_messages() -> None:
    longest = max(STREAM_BY_NAME[spec.stream].max_age for spec in CONSUMERS if spec.stream != "DEAD")
    assert RelaySettings().keep_processed > longest


@pytest.mark.parametrize("spec", CONSUMERS, ids=lambda spec: spec.name)
def test_a_handler_has_time_to_wait_for_the_slowest_question(spec: ConsumerSpec) -> None:
    assert spec.ack_wait.total_seconds() >= 30
    assert spec.max_deliver * MAX_DELAY_SECONDS > 600, "given up within minutes of an outage"


def test_an_unknown_consumer_is_an_error() -> None:
    with pytest.raises(KeyError):
        consumer("nobody")
