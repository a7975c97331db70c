"""What each fault of the simulated RunPod does: to the caller, and to the pod that may be there all the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.simulators.runpod.rules import Rules
from tests.simulators.runpod.running import RunningRunpod, running_runpod
from tests.support.waiting import wait_until

Start = Callable[..., str]
Order = Callable[..., dict[str, Any]]


def living(runpod: RunningRunpod) -> list[dict[str, Any]]:
    return [pod for pod in runpod.pods() if pod["status"] != "TERMINATED"]


REFUSALS = {
    "server_error": (500, "application/problem+json"),
    "unavailable": (503, "application/problem+json"),
    "bad_gateway": (502, "text/html"),
    "cloudflare": (403, "text/plain"),
    "unauthorized": (401, "application/problem+json"),
    "forbidden": (403, "application/problem+json"),
    "not_found": (404, "application/problem+json"),
    "rate_limited": (429, "application/problem+json"),
    "insufficient_balance": (402, "application/problem+json"),
    "bad_request": (400, "application/problem+json"),
    "no_capacity": (400, "application/problem+json"),
}


@pytest.mark.parametrize(("kind", "told"), REFUSALS.items())
def test_a_refusal_makes_no_pod_and_passes(
    runpod: RunningRunpod, api: httpx.Client, order: Order, kind: str, told: tuple[int, str]
) -> None:
    runpod.break_next(kind, operation="create")
    refused = api.post("/v2/pods", json=order())
    assert (refused.status_code, refused.headers["content-type"].partition(";")[0]) == told
    assert living(runpod) == []
    assert runpod.calls()[-1]["fault"] == kind
    assert api.post("/v2/pods", json=order()).status_code == 201


@pytest.mark.parametrize("kind", ["done_then_500", "lost_answer", "nonsense"])
def test_a_lost_answer_leaves_a_pod_that_costs_money(
    runpod: RunningRunpod, api: httpx.Client, order: Order, kind: str
) -> None:
    runpod.break_next(kind, operation="create")
    if kind == "lost_answer":
        with pytest.raises(httpx.RemoteProtocolError):
            api.post("/v2/pods", json=order())
    else:
        assert api.post("/v2/pods", json=order()).status_code == (500 if kind == "done_then_500" else 200)
    (pod,) = living(runpod)
    wait_until(lambda: runpod.pod(pod["id"])["status"] == "RUNNING")
    assert [pod["id"] for pod in api.get("/v2/pods").json()["pods"]] == [pod["id"]]


def test_a_call_that_hangs_does_nothing_and_a_late_one_makes_a_pod_after_the_caller_left(
    runpod: RunningRunpod, api: httpx.Client, order: Order
) -> None:
    runpod.break_next("hang", operation="create", seconds=1)
    with pytest.raises(httpx.ReadTimeout):
        api.post("/v2/pods", json=order(name="hung"), timeout=0.2)
    runpod.break_next("late", operation="create", seconds=0.5)
    with pytest.raises(httpx.ReadTimeout):
        api.post("/v2/pods", json=order(name="late"), timeout=0.2)
    wait_until(lambda: [pod["name"] for pod in living(runpod)] == ["late"])


def test_a_slow_network_answers_right_but_late(runpod: RunningRunpod, api: httpx.Client) -> None:
    runpod.break_next("slow", seconds=0.4, times=2)
    with pytest.raises(httpx.ReadTimeout):
        api.get("/v2/pods", timeout=0.1)
    assert api.get("/v2/pods").json()["pods"] == []


def test_no_capacity_can_be_of_one_gpu_in_one_cloud_until_it_is_taken_back(
    runpod: RunningRunpod, api: httpx.Client, order: Order
) -> None:
    runpod.break_next("no_capacity", gpu="NVIDIA L40S", cloud="SECURE", times=None)
    wish = order(gpu={"id": "NVIDIA L40S"})
    for _ in range(2):
        assert "no longer any instances available" in api.post("/v2/pods", json=wish).json()["detail"]
    assert api.post("/v2/pods", json=wish | {"cloud": "COMMUNITY"}).status_code == 201
    assert api.post("/v2/pods", json=order()).status_code == 201
    runpod.heal()
    assert api.post("/v2/pods", json=wish).status_code == 201


@pytest.mark.parametrize("status", ["PROVISIONING", "STARTING"])
def test_a_stuck_pod_stays_where_it_is_costs_money_and_can_be_deleted(
    runpod: RunningRunpod, api: httpx.Client, order: Order, start: Start, status: str
) -> None:
    runpod.break_next(f"stuck_{status.lower()}")
    stuck = api.post("/v2/pods", json=order()).json()["id"]
    start()  # one that was asked for later is there
    assert api.get(f"/v2/pods/{stuck}").json()["status"] == status
    assert runpod.pod(stuck)["spent"] > 0
    assert api.delete(f"/v2/pods/{stuck}").status_code == 204
    wait_until(lambda: api.get(f"/v2/pods/{stuck}").status_code == 404)


def test_a_stuck_pod_goes_on_when_it_is_released(runpod: RunningRunpod, api: httpx.Client, order: Order) -> None:
    runpod.break_next("stuck_starting")
    pod_id = api.post("/v2/pods", json=order()).json()["id"]
    wait_until(lambda: api.get(f"/v2/pods/{pod_id}").json()["status"] == "STARTING")
    runpod.deal(pod_id, "release")
    wait_until(lambda: api.get(f"/v2/pods/{pod_id}").json()["status"] == "RUNNING")


def test_a_new_pod_may_be_unknown_at_first_even_to_delete(
    runpod: RunningRunpod, api: httpx.Client, order: Order
) -> None:
    runpod.break_next("invisible", seconds=2)
    pod_id = api.post("/v2/pods", json=order()).json()["id"]
    assert api.get(f"/v2/pods/{pod_id}").status_code == 404
    assert api.delete(f"/v2/pods/{pod_id}").status_code == 404
    assert api.get("/v2/pods").json()["pods"] == []
    wait_until(lambda: api.get(f"/v2/pods/{pod_id}").status_code == 200)
    assert runpod.pod(pod_id)["status"] in ("PROVISIONING", "STARTING", "RUNNING")


@pytest.mark.parametrize("shows", ["RUNNING", "ERROR"])
def test_a_dead_host_takes_the_processes_and_goes_on_to_be_charged(
    runpod: RunningRunpod, api: httpx.Client, start: Start, shows: str
) -> None:
    pod_id = start("trap 'echo saved' TERM; echo ready; while :; do sleep 0.1; done")
    wait_until(lambda: runpod.lines(pod_id) == ["ready"])
    runpod.deal(pod_id, "host_death", shows=shows)
    wait_until(lambda: runpod.pod(pod_id)["processes"] == [])
    pod = api.get(f"/v2/pods/{pod_id}").json()
    assert (pod["status"], pod["runtime"], pod["cost"]) == (shows, None, 0.25)
    assert runpod.lines(pod_id) == ["ready"]
    spent = runpod.pod(pod_id)["spent"]
    wait_until(lambda: runpod.pod(pod_id)["spent"] > spent)


def test_an_eviction_gives_a_moment_to_save_and_leaves_the_pod_stopped(
    runpod: RunningRunpod, api: httpx.Client, start: Start
) -> None:
    pod_id = start("trap 'echo saved; exit' TERM; echo ready; while :; do sleep 0.1; done")
    wait_until(lambda: runpod.lines(pod_id) == ["ready"])
    runpod.deal(pod_id, "eviction", grace=5)
    wait_until(lambda: "saved" in runpod.lines(pod_id))
    wait_until(lambda: runpod.pod(pod_id)["processes"] == [])
    assert api.get(f"/v2/pods/{pod_id}").json()["status"] == "EXITED"


def test_a_pod_may_vanish_without_a_word(runpod: RunningRunpod, api: httpx.Client, start: Start) -> None:
    pod_id = start()
    runpod.deal(pod_id, "vanish")
    assert api.get(f"/v2/pods/{pod_id}").status_code == 404
    assert api.get("/v2/pods").json()["pods"] == []
    wait_until(lambda: runpod.pod(pod_id)["processes"] == [])


def test_a_container_error_ends_in_error(runpod: RunningRunpod, api: httpx.Client, order: Order) -> None:
    runpod.break_next("container_error")
    pod_id = api.post("/v2/pods", json=order()).json()["id"]
    pod = api.get(f"/v2/pods/{pod_id}").json()
    assert (pod["status"], pod["actions"], pod["runtime"]) == ("ERROR", ["start", "terminate"], None)


def test_quotas_are_told_and_kept(tmp_path: Path) -> None:
    rules = Rules(image="none", quotas={"minute": 100, "day": 500})
    with running_runpod(tmp_path, rules) as runpod, runpod.client() as api:
        answer = api.get("/v2/pods")
        assert answer.headers["RateLimit-Policy"] == '"minute";q=100;w=60, "day";q=500;w=86400'
        assert '"minute";r=' in answer.headers["RateLimit"]
        runpod.use_up("day")
        refused = api.get("/v2/pods")
        assert (refused.status_code, refused.json()["detail"]) == (429, "rate limit exceeded for the day window")
        assert 0 < int(refused.headers["Retry-After"]) <= 86_400
        assert '"day";r=0;t=' in refused.headers["RateLimit"]


@pytest.mark.parametrize("agent", ["python-urllib/3.11", "Python-urllib/3.11", "python-httpx/0.28.1", ""])
def test_a_client_without_a_name_of_its_own_meets_the_firewall(runpod: RunningRunpod, agent: str) -> None:
    with runpod.client(agent=agent) as api:
        answer = api.get("/v2/pods")
    assert (answer.status_code, answer.text) == (403, "error code: 1010")
    assert "RateLimit" not in answer.headers


def test_the_first_version_is_retired(api: httpx.Client) -> None:
    for verb, path in (("GET", "/v1/pods"), ("POST", "/v1/pods"), ("DELETE", "/v1/pods/abc")):
        answer = api.request(verb, path)
        assert (answer.status_code, answer.json()["title"]) == (410, "Gone")


def test_an_unknown_path_and_method_are_problems_too(api: httpx.Client) -> None:
    assert api.get("/v2/nothing").json() == {"title": "Not Found", "status": 404, "detail": "resource not found"}
    wrong = api.put("/v2/pods/abc")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "application/problem+json")


@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer", "Bearer wrong"])
def test_without_a_good_key_nothing_is_answered(runpod: RunningRunpod, header: str | None) -> None:
    headers = {"User-Agent": "stoker-test/1"} | ({"Authorization": header} if header else {})
    answer = httpx.get(f"{runpod.url}/v2/pods", headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["title"]) == (401, "Unauthorized")
