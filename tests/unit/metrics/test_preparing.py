"""The quick way and the thorough way through a report, packed bodies, and clocks that are wrong."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.errors import BodyTooLarge
from stoker_metrics.reports.batches import read_batch
from stoker_metrics.reports.clocks import EARLIEST, clock_shift
from stoker_metrics.reports.preparing import prepare
from stoker_metrics.reports.reading import parse_report, unpacked
from stoker_metrics.reports.telemetry import HEARTBEAT, LOGS, METRICS, Kind
from stoker_shared.errors import RequestInvalid
from stoker_shared.rpc.metrics import LogBatch, MetricsBatch
from tests.support.metrics import heartbeat, lines, points

JOB = "job-00000000000000aa"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MESSAGES = {"metrics": MetricsBatch, "logs": LogBatch}

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
times = st.datetimes(timezones=st.sampled_from([UTC])).map(datetime.isoformat) | st.sampled_from(
    ["2026-11-22T10:00:00.123456Z", "2026-11-22T10:00:00+02:00", "2026-11-22 10:00Z", "2016-12-31T23:59:60Z", "1"]
)


def message(kind: Kind, body: Any, *, now: datetime = NOW) -> Any:
    prepared = prepare(kind, json.dumps(body).encode(), job_id=JOB, now=now, most_items=1000)
    return MESSAGES[kind.name].model_validate_json(prepared.payload)


@given(st.sampled_from([(METRICS, points(1, 2)), (LOGS, lines(1, 2))]), st.data())
def test_what_the_quick_way_takes_the_thorough_way_takes_alike(
    valid: tuple[Kind, dict[str, Any]], data: st.DataObject
) -> None:
    kind, body = valid
    changed = json.loads(json.dumps(body))
    assert kind.items
    target = data.draw(st.sampled_from([changed, changed[kind.items][0]]))
    target[data.draw(st.sampled_from([*sorted(target), "sent_at"]))] = data.draw(junk | times)
    content = json.dumps(changed).encode("utf-8", "surrogatepass")
    batch = read_batch(kind.items, content)
    if batch is None:
        return
    report: Any = parse_report(kind.report, content)
    quick = type(kind.message(JOB, report, NOW)).model_validate_json(
        b'{"job_id":"%b","attempt":%d,"%b":%b}' % (JOB.encode(), batch.attempt, kind.items.encode(), batch.encoded())
    )
    assert quick == kind.message(JOB, report, NOW)
    assert batch.sent_at == report.sent_at


@pytest.mark.parametrize(("kind", "body"), [(METRICS, points(1, 2)), (LOGS, lines(1, 2))])
def test_what_a_trainer_sends_goes_the_quick_way(kind: Kind, body: dict[str, Any]) -> None:
    assert kind.items
    assert read_batch(kind.items, json.dumps(body).encode()) is not None


def test_without_sent_at_a_time_is_taken_as_it_is() -> None:
    body = points(1)
    body["points"][0]["at"] = "2026-11-20T10:00:00+00:00"
    batch = message(METRICS, body)
    assert batch.points[0].at == datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert batch.clock_shift_seconds == 0


@pytest.mark.parametrize("loss", [0.5, float("nan")], ids=["quick", "thorough"])
@pytest.mark.parametrize("wrong", [timedelta(hours=-3), timedelta(days=20_000), timedelta(seconds=9)])
def test_a_wrong_clock_is_set_right_and_the_shift_is_noted(loss: float, wrong: timedelta) -> None:
    body = points(1, loss=loss) | {"sent_at": (NOW + wrong).isoformat()}
    body["points"][0]["at"] = (NOW + wrong - timedelta(minutes=5)).isoformat()
    batch = message(METRICS, body)
    assert batch.points[0].at == NOW - timedelta(minutes=5)
    assert batch.clock_shift_seconds == -wrong.total_seconds()


def test_a_clock_that_is_a_little_off_is_left_alone() -> None:
    body = heartbeat(1) | {"sent_at": (NOW + timedelta(seconds=4)).isoformat()}
    prepared = prepare(HEARTBEAT, json.dumps(body).encode(), job_id=JOB, now=NOW, most_items=1)
    assert prepared.clock_shift_seconds == 0


@pytest.mark.parametrize("kind", ["points", "lines"])
@pytest.mark.parametrize("at", ["1970-01-01T00:00:10Z", "2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_time_that_cannot_be_is_the_time_of_receipt(kind: str, at: str) -> None:
    body = points(1, 2) if kind == "points" else lines(1, 2)
    body[kind][0]["at"] = at
    batch = message(METRICS if kind == "points" else LOGS, body)
    first, second = getattr(batch, kind)
    assert first.at == NOW
    assert second.at != NOW, "the others keep theirs"


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)) | st.none())
def test_no_time_leaves_the_bounds(at: datetime, sent_at: datetime | None) -> None:
    shift = clock_shift(sent_at, now=NOW)
    if shift.is_needed([at]):
        assert EARLIEST <= shift.moved(at) <= NOW + timedelta(days=1)
    else:
        assert EARLIEST <= at <= NOW + timedelta(days=1)


@pytest.mark.parametrize(("kind", "body"), [(METRICS, points(1, 2)), (METRICS, points(1, loss=float("nan")))])
def test_sent_later_it_is_the_same_message(kind: Kind, body: dict[str, Any]) -> None:
    ids = {
        prepare(
            kind,
            json.dumps(body | {"sent_at": (NOW + timedelta(days=days)).isoformat()}).encode(),
            job_id=JOB,
            now=NOW + timedelta(hours=days),
            most_items=10,
        ).message_id
        for days in range(3)
    }
    assert len(ids) == 1


@given(st.binary(max_size=2000))
def test_gzip_comes_out_as_it_went_in(plain: bytes) -> None:
    assert unpacked(gzip.compress(plain), limit=2000) == plain


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(BodyTooLarge):
        unpacked(gzip.compress(b"0" * 100_000_000), limit=512 * 1024)


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_what_is_no_gzip_is_refused_in_words(plain: bytes, other: bytes) -> None:
    packed = gzip.compress(plain)
    for wrong in (packed[:-1], packed[: len(packed) // 2], packed + b"x" + other, other):
        with pytest.raises(RequestInvalid):
            unpacked(wrong, limit=10_000)
