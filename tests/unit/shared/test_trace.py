"""One trace id through all services, and one trace for a job."""

from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_shared.trace import (
    current_trace_id,
    enter_background,
    enter_trace,
    job_traceparent,
    span,
    traceparent,
    traceparent_for,
)

HEX = "0123456789abcdef"


def ids(length: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=length, max_size=length).filter(lambda text: int(text, 16) > 0)


@given(ids(32), ids(16))
def test_a_callers_trace_is_joined_and_handed_on(trace: str, span_id: str) -> None:
    def handled() -> str:
        assert enter_trace(f"00-{trace}-{span_id}-01") == trace == current_trace_id()
        return traceparent()

    assert copy_context().run(handled) == f"00-{trace}-{span_id}-01"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"00-{'x' * 32}-{'0' * 16}-01",
        f"00-{'a' * 31}-{'0' * 16}-01",
        f"00-{'0' * 32}-{'a' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        "01-a-b-c",
    ],
)
def test_nonsense_begins_a_trace_of_its_own(header: str | None) -> None:
    trace = copy_context().run(enter_trace, header)
    assert len(trace) == 32
    assert set(trace) <= set(HEX)
    assert set(trace) not in ({"0"}, {"a"})


def test_outside_any_work_there_is_no_trace_but_a_header_can_be_made() -> None:
    def outside() -> tuple[str, str]:
        return current_trace_id(), traceparent()

    trace, header = copy_context().run(outside)
    assert trace == ""
    assert len(header.split("-")[1]) == 32


def test_a_caller_who_sends_no_spans_is_not_made_to() -> None:
    def handled() -> str:
        enter_trace(f"00-{'a' * 32}-{'b' * 16}-00")
        return traceparent()

    assert copy_context().run(handled).endswith("-00")


def test_background_work_has_an_id_and_sends_no_spans() -> None:
    def handled() -> tuple[str, str]:
        return enter_background(), traceparent()

    trace, header = copy_context().run(handled)
    assert header.startswith(f"00-{trace}-")
    assert header.endswith("-00")


def test_a_jobs_trace_follows_from_its_id_alone() -> None:
    assert job_traceparent("job-1") == job_traceparent("job-1") != job_traceparent("job-2")
    assert job_traceparent("job-1").endswith("-01")


def test_what_is_told_of_a_job_belongs_to_its_trace_whoever_tells_it() -> None:
    def elsewhere() -> str:
        enter_trace(None)
        return traceparent_for("job-1")

    def in_its_trace() -> tuple[str, str]:
        enter_trace(f"{job_traceparent('job-1')[:36]}{'c' * 16}-01")
        return traceparent_for("job-1"), traceparent()

    assert copy_context().run(elsewhere) == job_traceparent("job-1")
    told, at_hand = copy_context().run(in_its_trace)
    assert told == at_hand != job_traceparent("job-1")


def test_a_span_lasts_as_long_as_its_block_and_lets_errors_out() -> None:
    with pytest.raises(ValueError, match="as it was"), span("work", parent=job_traceparent("job-1")):
        assert current_trace_id() == job_traceparent("job-1").split("-")[1]
        raise ValueError("as it was")
    assert current_trace_id() == ""
