"""Money and quotas of the simulated RunPod, on times that are given."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.simulators.runpod.billing import pod_billing
from tests.simulators.runpod.meter import Amounts, Meter
from tests.simulators.runpod.problems import Problem
from tests.simulators.runpod.quotas import Quotas

NOON = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def metered() -> Meter:
    """Two hours at 3 dollars and a little disk, then stopped with a volume, then gone."""
    meter = Meter()
    meter.change(NOON, Amounts(gpu=Decimal(3), disk=Decimal("0.01")))
    meter.change(NOON + 2 * HOUR, Amounts(disk=Decimal("0.02")))
    meter.change(NOON + 12 * HOUR, None)
    return meter


def test_a_pod_costs_what_its_hours_cost_and_nothing_once_it_is_gone() -> None:
    assert metered().until(NOON + 100 * HOUR) == Amounts(gpu=Decimal(6), disk=Decimal("0.22"))
    assert metered().until(NOON + HOUR / 2).gpu == Decimal("1.5")
    assert metered().until(NOON - HOUR).total == 0


@pytest.mark.parametrize("size", ["hour", "day", "week", "month", "year"])
def test_buckets_of_any_size_add_up_to_all_that_was_spent(size: str) -> None:
    now = NOON + 40 * HOUR
    answer = pod_billing({"a": metered(), "b": metered()}, {"bucketSize": size}, now=now, known=now)
    assert sum(record["totalAmount"] for record in answer["records"]) == pytest.approx(12.44)
    assert answer["metadata"]["totals"]["totalAmount"] == pytest.approx(12.44)
    assert answer["metadata"]["uniquePodCount"] == 2
    assert answer["metadata"]["recordCount"] == len(answer["records"])
    ends = [record["endTime"] for record in answer["records"] if record["podId"] == "a"]
    starts = [record["startTime"] for record in answer["records"] if record["podId"] == "a"]
    assert starts[1:] == ends[:-1]


def test_a_bill_can_be_of_one_pod_and_of_the_last_buckets_only() -> None:
    now = NOON + 20 * HOUR
    one = pod_billing({"a": metered(), "b": metered()}, {"podId": "a"}, now=now, known=now)
    assert {record["podId"] for record in one["records"]} == {"a"}
    last = pod_billing({"a": metered()}, {"bucketSize": "hour", "lastN": "9"}, now=now, known=now)
    assert [record["startTime"] for record in last["records"]] == ["2026-11-23T00:00:00Z"]


def test_what_is_not_worked_out_yet_is_not_told() -> None:
    now = NOON + 2 * HOUR
    answer = pod_billing({"a": metered()}, {}, now=now, known=NOON + HOUR)
    assert answer["metadata"]["totals"]["gpuAmount"] == 3.0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"lastN": "2", "startTime": "2026-11-01T00:00:00Z"}, 400),
        ({"lastN": "0"}, 422),
        ({"bucketSize": "minute"}, 422),
        ({"startTime": "yesterday"}, 422),
        ({"startTime": "2026-11-01T00:00:00"}, 422),
        ({"startTime": "2026-11-02T00:00:00Z", "endTime": "2026-11-01T00:00:00Z"}, 400),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(query: dict[str, str], status: int) -> None:
    with pytest.raises(Problem) as caught:
        pod_billing({}, query, now=NOON, known=NOON)
    assert caught.value.status == status


def test_a_full_window_refuses_until_it_is_over() -> None:
    quotas = Quotas({"minute": 2, "hour": 3})
    quotas.count(NOON)
    assert quotas.headers(NOON)["RateLimit"] == '"minute";r=1;t=30, "hour";r=2;t=3570'
    assert quotas.headers(NOON)["RateLimit-Policy"] == '"minute";q=2;w=60, "hour";q=3;w=3600'
    quotas.count(NOON)
    with pytest.raises(Problem, match="rate limit exceeded for the minute window") as caught:
        quotas.count(NOON)
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "30"})
    quotas.count(NOON + timedelta(seconds=30))
    with pytest.raises(Problem, match="the hour window"):
        quotas.count(NOON + timedelta(seconds=31))
