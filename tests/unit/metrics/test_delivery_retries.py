"""When a delivery is tried again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.notifications.retrying import SCHEDULE, RetryRules, must_pause, next_attempt

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RULES = RetryRules()


def test_the_schedule_is_that_of_the_specification() -> None:
    told = [next_attempt(RULES, failed=n, now=NOW, spread=0.0) for n in range(1, 11)]
    assert told == [*(NOW + pause for pause in SCHEDULE), None]
    assert sum(SCHEDULE, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", [str, lambda s: format_datetime(NOW + timedelta(seconds=s), usegmt=True)])
def test_what_a_busy_receiver_asks_for_is_obeyed(status: int, form: object) -> None:
    asked = form(3600)  # type: ignore[operator]
    assert next_attempt(RULES, failed=1, now=NOW, spread=0.0, status=status, retry_after=asked) == NOW + timedelta(
        hours=1
    )


def test_it_never_hastens_and_never_puts_off_for_ever() -> None:
    def after(text: str, *, status: int = 429) -> timedelta:
        moment = next_attempt(RULES, failed=2, now=NOW, spread=0.0, status=status, retry_after=text)
        assert moment is not None
        return moment - NOW

    assert after("0") == SCHEDULE[1]
    assert after("9" * 50) == timedelta(hours=24)
    assert after("Fri, 31 Dec 2199 23:59:59 GMT") == timedelta(hours=24)
    assert after("3600", status=500) == SCHEDULE[1]


@given(st.text(max_size=70), st.integers(1, 9), st.floats(0, 1))
def test_no_answer_breaks_it(text: str, failed: int, spread: float) -> None:
    moment = next_attempt(RULES, failed=failed, now=NOW, spread=spread, status=503, retry_after=text)
    assert moment is not None
    assert SCHEDULE[failed - 1] <= moment - NOW <= timedelta(hours=27)


def test_a_target_is_paused_for_many_failures_over_a_long_time_only() -> None:
    hours = timedelta(hours=13)
    assert must_pause(RULES, failures=15, failing_since=NOW - hours, now=NOW)
    assert not must_pause(RULES, failures=14, failing_since=NOW - hours, now=NOW)
    assert not must_pause(RULES, failures=99, failing_since=NOW - timedelta(minutes=5), now=NOW)
    assert not must_pause(RULES, failures=99, failing_since=None, now=NOW)
