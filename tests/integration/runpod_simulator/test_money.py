"""The simulated RunPod's money: bills, balance and the truth agree, and nothing runs without any."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.simulators.runpod.running import RunningRunpod
from tests.support.waiting import wait_until

Start = Callable[..., str]
Order = Callable[..., dict[str, Any]]


def balance(api: httpx.Client) -> float:
    answer = api.post("/graphql", json={"query": "query { myself { id clientBalance currentSpendPerHr } }"})
    return float(answer.json()["data"]["myself"]["clientBalance"])


def billed(api: httpx.Client, **query: Any) -> dict[str, Any]:
    return dict(api.get("/v2/billing/pods", params=query).raise_for_status().json())


def test_bills_balance_and_spending_add_up(runpod: RunningRunpod, api: httpx.Client, start: Start) -> None:
    # Spending of earlier tests of this file stays on the bill.
    before, had = billed(api)["metadata"]["totals"]["totalAmount"], balance(api)
    pods = [start(), start(gpu={"id": "NVIDIA H200", "count": 2}), start(cloud="COMMUNITY")]
    for pod_id in pods:
        api.delete(f"/v2/pods/{pod_id}")
    bills = {pod_id: billed(api, podId=pod_id) for pod_id in pods}
    spent = {pod_id: runpod.pod(pod_id)["spent"] for pod_id in pods}
    assert min(spent.values()) > 0
    for pod_id, bill in bills.items():
        assert {record["podId"] for record in bill["records"]} == {pod_id}
        assert bill["metadata"]["totals"]["totalAmount"] == pytest.approx(spent[pod_id])
        totals = bill["metadata"]["totals"]
        assert totals["gpuAmount"] + totals["cpuAmount"] + totals["diskAmount"] == pytest.approx(totals["totalAmount"])
    after = billed(api)["metadata"]["totals"]["totalAmount"]
    assert after - before == pytest.approx(sum(spent.values()))
    assert had - balance(api) == pytest.approx(sum(spent.values()))
    assert runpod.account()["spending_per_hour"] == 0


def test_a_price_is_that_of_cloud_type_and_count(api: httpx.Client, start: Start) -> None:
    costs = [
        api.get(f"/v2/pods/{pod_id}").json()["cost"]
        for pod_id in (start(), start(cloud="COMMUNITY"), start(gpu={"id": "NVIDIA RTX A4000", "count": 2}))
    ]
    assert costs == [0.25, 0.17, 0.5]


def test_without_an_hour_of_credit_nothing_is_deployed(runpod: RunningRunpod, api: httpx.Client, order: Order) -> None:
    runpod.set_balance(0.2)
    refused = api.post("/v2/pods", json=order())
    assert (refused.status_code, refused.json()["title"]) == (402, "Payment Required")
    assert api.get("/v2/pods").json()["pods"] == []


def test_at_the_end_of_the_money_pods_are_deleted(runpod: RunningRunpod, api: httpx.Client, start: Start) -> None:
    pod_id = start()
    runpod.set_balance(0)
    wait_until(lambda: api.get(f"/v2/pods/{pod_id}").status_code == 404)
    wait_until(lambda: runpod.pod(pod_id)["processes"] == [])
    assert runpod.pod(pod_id)["ended_by"] == "balance"


def test_the_spend_limit_of_an_account_is_kept(api: httpx.Client, order: Order) -> None:
    eight = {"gpu": {"id": "NVIDIA B200", "count": 8}}
    assert api.post("/v2/pods", json=order(**eight)).status_code == 201
    refused = api.post("/v2/pods", json=order(gpu={"id": "NVIDIA H200", "count": 8}))
    assert (refused.status_code, "spend limit" in refused.json()["detail"]) == (400, True)
