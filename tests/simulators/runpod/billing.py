"""`GET /v2/billing/pods`: what pods have cost, in buckets of time."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.simulators.runpod.meter import Meter, total
from tests.simulators.runpod.problems import Problem

SIZES = ("hour", "day", "week", "month", "year")


def pod_billing(meters: Mapping[str, Meter], query: Mapping[str, str], *, now: datetime, known: datetime) -> Any:
    """The answer. `known`: until when charges have been worked out; what is later will be told later.

    Raises:
        Problem: 422 a parameter that cannot be read, 400 parameters that exclude each other.
    """
    start, end, size = _window(query, now)
    asked = query.get("podId")
    records, amounts = [], []
    for begin, finish in _buckets(start, end, size):
        for pod_id, meter in meters.items():
            spent = meter.between(begin, min(finish, known))
            if spent.total and asked in (None, pod_id):
                amounts.append(spent)
                records.append({"startTime": _told(begin), "endTime": _told(finish), "podId": pod_id, **spent.shown()})
    return {
        "records": records,
        "metadata": {
            "query": {"startTime": _told(start), "endTime": _told(end), "bucketSize": size, "podId": asked},
            "recordCount": len(records),
            "uniquePodCount": len({record["podId"] for record in records}),
            "totals": total(amounts).shown(),
        },
    }


def _window(query: Mapping[str, str], now: datetime) -> tuple[datetime, datetime, str]:
    size = query.get("bucketSize", "day")
    if size not in SIZES:
        raise _unreadable("bucketSize", SIZES)
    if "lastN" in query:
        if {"startTime", "endTime"} & set(query):
            raise Problem(400, "lastN is mutually exclusive with startTime and endTime")
        return _last(query["lastN"], now, size)
    start = _floor(_time(query, "startTime", now - timedelta(days=30)), size)
    end = _time(query, "endTime", now)
    if _floor(end, size) != end:
        end = _next(_floor(end, size), size)
    if end <= start:
        raise Problem(400, "startTime must be before endTime")
    return start, end, size


def _last(count: str, now: datetime, size: str) -> tuple[datetime, datetime, str]:
    if not count.isdecimal() or int(count) < 1:
        raise _unreadable("lastN", ["a positive integer"])
    start = _floor(now, size)
    end = _next(start, size)
    for _ in range(int(count) - 1):
        start = _floor(start - timedelta(microseconds=1), size)
    return start, end, size


def _time(query: Mapping[str, str], name: str, default: datetime) -> datetime:
    if name not in query:
        return default
    try:
        moment = datetime.fromisoformat(query[name])
    except ValueError:
        raise _unreadable(name, ["an RFC 3339 timestamp"]) from None
    if moment.tzinfo is None:
        raise _unreadable(name, ["an RFC 3339 timestamp"])
    return moment.astimezone(UTC)


def _buckets(start: datetime, end: datetime, size: str) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        following = _next(start, size)
        yield start, following
        start = following


def _floor(moment: datetime, size: str) -> datetime:
    hour = moment.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    return {
        "hour": hour,
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "year": day.replace(month=1, day=1),
    }[size]


def _next(start: datetime, size: str) -> datetime:
    longest = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31, "year": 366}[size]
    return _floor(start + timedelta(days=longest), size)


def _told(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _unreadable(name: str, wanted: Iterable[str]) -> Problem:
    return Problem(422, "Request validation failed.", errors=[f"query.{name}: must be one of {', '.join(wanted)}"])
