"""One trace id through all services."""

from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_shared.trace import current_trace_id, enter_trace, traceparent

HEX = "0123456789abcdef"


@given(st.text(HEX, min_size=32, max_size=32), st.text(HEX, min_size=16, max_size=16))
def test_a_callers_trace_is_joined_and_handed_on_with_a_new_span(trace: str, span: str) -> None:
    def handled() -> str:
        assert enter_trace(f"00-{trace}-{span}-01") == trace == current_trace_id()
        return traceparent()

    _, handed_trace, handed_span, _ = copy_context().run(handled).split("-")
    assert handed_trace == trace
    assert handed_span != span


@pytest.mark.parametrize(
    "header", [None, "", "nonsense", f"00-{'x' * 32}-{'0' * 16}-01", f"00-{'a' * 31}-{'0' * 16}-01", "01-a-b-c"]
)
def test_nonsense_begins_a_trace_of_its_own(header: str | None) -> None:
    trace = copy_context().run(enter_trace, header)
    assert len(trace) == 32
    assert set(trace) <= set(HEX)


def test_outside_any_work_there_is_no_trace_but_a_header_can_be_made() -> None:
    def outside() -> tuple[str, str]:
        return current_trace_id(), traceparent()

    trace, header = copy_context().run(outside)
    assert trace == ""
    assert len(header.split("-")[1]) == 32
