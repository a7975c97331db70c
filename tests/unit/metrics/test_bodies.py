"""Bodies of reports: what is taken, what is changed, what is named."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.reports.preparing import Prepared, prepare
from stoker_metrics.reports.reading import parse_report
from stoker_metrics.reports.schemas import MAX_LAST_LINES, MAX_TEXT_CHARACTERS, ExitReport, Report, cut
from stoker_metrics.reports.telemetry import ALERT, EXIT, HEARTBEAT, LOGS, METRICS, Kind
from stoker_shared.errors import RequestInvalid
from tests.support.metrics import alert, ending, heartbeat, lines, points

JOB = "job-00000000000000aa"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
KINDS = {kind.name: kind for kind in (METRICS, LOGS, HEARTBEAT, ALERT, EXIT)}

FAULTS: list[tuple[Kind, Any, str]] = [
    (METRICS, {"attempt": 1, "points": [{"sequence": 1, "step": 1, "at": "2026-11-22T10:00Z"}]}, "points.0.values"),
    (METRICS, points(1) | {"attempt": "one"}, "attempt"),
    (METRICS, points(1) | {"attempt": 0}, "attempt"),
    (METRICS, points(1) | {"attempt": True}, "attempt"),
    (METRICS, {"attempt": 1}, "points"),
    (METRICS, {"attempt": 1, "points": []}, "points"),
    (METRICS, points(0), "points.0.sequence"),
    (METRICS, points(1, step_of=-1), "points.0.step"),
    (METRICS, points(1, loss="low"), "points.0.values.loss"),
    (METRICS, points(1, loss=[1]), "points.0.values.loss"),
    (METRICS, points(1, loss=True), "points.0.values.loss"),
    (METRICS, points(2**60), "points.0.sequence"),
    (METRICS, points(1, **{"x" * 201: 1}), f"points.0.values.{'x' * 201}.[key]"),
    (LOGS, {"attempt": 1, "lines": [{"sequence": 1, "at": "10:00", "stream": "stdout", "text": ""}]}, "lines.0.at"),
    (LOGS, {"attempt": 1, "lines": "all"}, "lines"),
    (LOGS, lines(1, text="x") | {"lines": [lines(1)["lines"][0] | {"stream": ""}]}, "lines.0.stream"),
    (HEARTBEAT, heartbeat(1, "dancing"), "phase"),
    (HEARTBEAT, heartbeat(1, at="2026-11-22T10:00:00"), "at"),
    (HEARTBEAT, heartbeat(1, step=1.5), "step"),
    (ALERT, alert(1, level="fatal"), "level"),
    (ALERT, alert(1, message=None), "message"),
    (EXIT, ending(exit_code=None), "exit_code"),
    (EXIT, ending(exit_code=2**31), "exit_code"),
    (EXIT, ending(summary={"loss": "x"}), "summary.loss"),
    (EXIT, ending(last_lines="x"), "last_lines"),
    (EXIT, [], "body"),
]

VALID: list[tuple[Kind, dict[str, Any]]] = [
    (METRICS, points(1, 2)),
    (LOGS, lines(1, 2)),
    (HEARTBEAT, heartbeat(1)),
    (ALERT, alert(1)),
    (EXIT, ending()),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


def prepared(kind: Kind, body: Any, *, job_id: str = JOB, now: datetime = NOW) -> Prepared:
    """The message of a body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return prepare(kind, content, job_id=job_id, now=now, most_items=1000)


def report_or_none(kind: Kind, body: bytes) -> Report | None:
    """A report, or None if it is refused with its fields named; anything else is a fault of the service."""
    try:
        return parse_report(kind.report, body)
    except RequestInvalid as refusal:
        if not refusal.fields:
            raise
        return None


@pytest.mark.parametrize(
    ("kind", "body", "field"), FAULTS, ids=[f"{kind.name}-{field[:30]}" for kind, _, field in FAULTS]
)
def test_a_field_that_is_wrong_is_named(kind: Kind, body: Any, field: str) -> None:
    with pytest.raises(RequestInvalid) as refusal:
        parse_report(kind.report, json.dumps(body).encode())
    assert field in refusal.value.fields


@given(st.binary(max_size=200))
def test_bytes_are_refused_in_words(body: bytes) -> None:
    for kind in KINDS.values():
        assert report_or_none(kind, body) is None


@given(st.sampled_from(VALID), st.data())
def test_a_report_with_one_field_replaced_is_taken_or_refused_and_never_breaks_the_service(
    valid: tuple[Kind, dict[str, Any]], data: st.DataObject
) -> None:
    kind, body = valid
    changed = json.loads(json.dumps(body))
    target = changed
    if kind.items and data.draw(st.booleans()):
        target = changed[kind.items][0]
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(json_values)
    report = report_or_none(kind, json.dumps(changed).encode("utf-8", "surrogatepass"))
    if report is None:
        return
    message = kind.message(JOB, report, NOW)
    assert type(message).model_validate_json(message.model_dump_json()) == message
    assert "\\u0000" not in message.model_dump_json()


@given(
    st.dictionaries(st.text(min_size=1, max_size=20).filter(lambda name: "\x00" not in name), st.floats() | st.none())
)
def test_finite_values_stay_exactly_and_others_become_null(values: dict[str, float | None]) -> None:
    encodable = {name.encode("utf-8", "replace").decode(): value for name, value in values.items()}
    body = {"attempt": 1, "points": [points(1)["points"][0] | {"values": encodable}]}
    report = parse_report(METRICS.report, json.dumps(body).encode())
    (point,) = METRICS.list_of(report)
    assert point.values == {
        name: value if value is not None and math.isfinite(value) else None for name, value in encodable.items()
    }


@given(st.text(max_size=50), st.integers(min_value=0, max_value=200))
def test_text_is_cut_only_beyond_the_limit(text: str, beyond: int) -> None:
    long = text + "x" * (MAX_TEXT_CHARACTERS + beyond - len(text))
    kept = cut(long)
    assert kept.startswith(long[:MAX_TEXT_CHARACTERS].replace("\x00", "\N{REPLACEMENT CHARACTER}"))
    assert kept.endswith(f"[cut: {beyond} more characters]") == (beyond > 0)


def test_fields_of_newer_trainers_are_ignored() -> None:
    body = heartbeat(1, gpu_temperature=71) | {"schema": 2}
    assert parse_report(HEARTBEAT.report, json.dumps(body).encode())


def test_of_too_many_last_lines_the_newest_are_kept() -> None:
    body = ending(last_lines=[str(number) for number in range(1000)])
    report = parse_report(EXIT.report, json.dumps(body).encode())
    kept = EXIT.message(JOB, report, NOW).model_dump()["facts"]["last_lines"]
    assert (len(kept), kept[-1]) == (MAX_LAST_LINES, "999")


def test_the_message_id_names_what_it_is_of_and_no_time() -> None:
    def identifier(kind: Kind, body: dict[str, Any], job_id: str = JOB) -> str:
        return prepared(kind, body, job_id=job_id).message_id

    first = identifier(METRICS, points(4, 5))
    assert first.startswith(f"tel:{JOB}:1:metrics:4-5:")
    assert first == identifier(METRICS, points(4, 5))
    others = {
        identifier(METRICS, points(4, 6)),
        identifier(METRICS, points(4, 5, loss=2)),
        identifier(METRICS, points(4, 5, attempt=2)),
        identifier(METRICS, points(4, 5), "job-00000000000000bb"),
        identifier(LOGS, lines(4, 5)),
    }
    assert len(others | {first}) == 6


def test_a_heartbeat_received_later_is_the_same_message() -> None:
    early, late = (prepared(HEARTBEAT, heartbeat(1), now=NOW + timedelta(seconds=n)) for n in (0, 60))
    assert early.payload != late.payload
    assert early.message_id == late.message_id


def test_a_trainer_that_failed_has_nothing_to_sum_up() -> None:
    report = parse_report(ExitReport, json.dumps(ending(exit_code=12, summary=None)).encode())
    assert report.summary == {}
