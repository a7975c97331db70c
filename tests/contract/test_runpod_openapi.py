"""The simulated RunPod against the OpenAPI document of the real one, which `STOKER_RUNPOD_OPENAPI` names.

Every answer has a documented status, media type, body and headers. Whether a request keeps the contract is judged by
the document and by the simulator alike: 422 where the document refuses it, anything else where it does not.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulators.runpod.rules import Rules
from tests.simulators.runpod.running import RunningRunpod, running_runpod
from tests.support.waiting import wait_until

DOCUMENT: dict[str, Any] = json.loads(Path(os.environ["STOKER_RUNPOD_OPENAPI"]).read_text())
POD = {"name": "pod", "image": "image", "gpu": {"id": "NVIDIA RTX A4000", "count": 1}, "disk": 20}


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]}, validate_formats=True)


def component(name: str) -> Any:
    return validator({"$ref": f"#/components/schemas/{name}"})


CREATE, UPDATE, ACTION = (component(name) for name in ("CreatePodRequest", "UpdatePodRequest", "PodActionRequest"))


@pytest.fixture(scope="module")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRunpod]:
    rules = Rules(time_scale=0.02, image="none", quotas={"minute": 100_000, "hour": 1_000_000}, default_stock=10_000)
    with running_runpod(tmp_path_factory.mktemp("runpod"), rules) as running:
        yield running


@pytest.fixture
def api(runpod: RunningRunpod) -> Iterator[httpx.Client]:
    with runpod.client() as client:
        yield client


def demand_documented(template: str, answer: httpx.Response) -> None:
    """The answer is one that the document promises."""
    operation = DOCUMENT["paths"][template][answer.request.method.lower()]
    responses = operation["responses"]
    documented = resolved(responses.get(str(answer.status_code)) or responses["default"])
    if answer.status_code != 401:  # there nobody is known whose quota it could be
        assert set(documented.get("headers", {})) - {"Retry-After", "Allow"} <= {
            "-".join(word.capitalize() for word in name.split("-")).replace("Ratelimit", "RateLimit")
            for name in answer.headers
        }
    content = documented.get("content")
    if not content:
        assert answer.content == b""
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in content
    if media_type != "text/event-stream":
        validator(content[media_type]["schema"]).validate(answer.json())


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    found: Any = DOCUMENT
    for word in part.get("$ref", "#").split("/")[1:]:
        found = found[word]
    return dict(found if "$ref" in part else part)


def order(api: httpx.Client, **more: Any) -> httpx.Response:
    return api.post("/v2/pods", json=POD | more)


def act(api: httpx.Client, action: str) -> httpx.Response:
    return api.post(f"/v2/pods/{made(api)}/action", json={"action": action})


def made(api: httpx.Client, **more: Any) -> str:
    return str(order(api, **more).raise_for_status().json()["id"])


Ask = Callable[[httpx.Client], httpx.Response]
AVAILABLE = {"include": "AVAILABILITY", "product": "POD"}
GPUS, CENTRES, BILLS = "/v2/catalog/gpus", "/v2/catalog/datacenters", "/v2/billing/pods"
CPU = {"id": "cpu3c", "vcpuCount": 2}
VOLUME = {"persistent": {"size": 10, "path": "/workspace"}}
EXCHANGES: tuple[tuple[str, int, Ask], ...] = (
    ("/v2/pods", 201, order),
    ("/v2/pods", 201, lambda api: order(api, ports=["22/tcp"], cloud="COMMUNITY")),
    ("/v2/pods", 201, lambda api: order(api, env={"A": "b"}, mounts=VOLUME)),
    ("/v2/pods", 201, lambda api: api.post("/v2/pods", json={"name": "c", "image": "i", "disk": 5, "cpu": CPU})),
    ("/v2/pods", 400, lambda api: order(api, cpu=CPU)),
    ("/v2/pods", 400, lambda api: order(api, env={f"V{n}": "" for n in range(51)})),
    ("/v2/pods", 400, lambda api: api.post("/v2/pods", content=b"{")),
    ("/v2/pods", 413, lambda api: order(api, args="x" * 102_400)),
    ("/v2/pods", 404, lambda api: order(api, templateId="unknown")),
    ("/v2/pods", 422, lambda api: order(api, unknown=1)),
    ("/v2/pods", 401, lambda api: api.get("/v2/pods", headers={"Authorization": "Bearer wrong"})),
    ("/v2/pods", 200, lambda api: api.get("/v2/pods")),
    ("/v2/pods/{id}", 200, lambda api: api.get(f"/v2/pods/{made(api)}")),
    ("/v2/pods/{id}", 404, lambda api: api.get("/v2/pods/unknown")),
    ("/v2/pods/{id}", 200, lambda api: api.patch(f"/v2/pods/{made(api)}", json={"name": "other", "locked": True})),
    ("/v2/pods/{id}", 422, lambda api: api.patch(f"/v2/pods/{made(api)}", json={"status": "RUNNING"})),
    ("/v2/pods/{id}", 204, lambda api: api.delete(f"/v2/pods/{made(api)}")),
    ("/v2/pods/{id}", 404, lambda api: api.delete("/v2/pods/unknown")),
    ("/v2/pods/{id}/action", 200, lambda api: act(api, "stop")),
    ("/v2/pods/{id}/action", 204, lambda api: act(api, "terminate")),
    ("/v2/pods/{id}/action", 409, lambda api: act(api, "start")),
    ("/v2/pods/{id}/action", 422, lambda api: act(api, "jump")),
    ("/v2/pods/{id}/logs", 404, lambda api: api.get("/v2/pods/unknown/logs")),
    ("/v2/pods/{id}/logs", 422, lambda api: api.get(f"/v2/pods/{made(api)}/logs", params={"tail": 5001})),
    (GPUS, 200, lambda api: api.get(GPUS)),
    (GPUS, 200, lambda api: api.get(GPUS, params=AVAILABLE | {"countryCodes": "SE,RO"})),
    (GPUS, 400, lambda api: api.get(GPUS, params={"include": "AVAILABILITY"})),
    (GPUS, 400, lambda api: api.get(GPUS, params={"product": "POD"})),
    (GPUS + "/{id}", 200, lambda api: api.get(f"{GPUS}/NVIDIA H200", params=AVAILABLE)),
    (GPUS + "/{id}", 404, lambda api: api.get(f"{GPUS}/NVIDIA H900")),
    (CENTRES, 200, lambda api: api.get(CENTRES, params={"include": "GPU_AVAILABILITY", "regions": "EUROPE"})),
    (BILLS, 200, lambda api: api.get(BILLS, params={"lastN": 2, "bucketSize": "hour"})),
    (BILLS, 400, lambda api: api.get(BILLS, params={"lastN": 2, "endTime": "2026-11-22T00:00:00Z"})),
)
TROUBLE = (
    *("server_error", "unavailable", "unauthorized", "forbidden"),
    *("rate_limited", "insufficient_balance", "no_capacity"),
)


@pytest.mark.parametrize(("template", "status", "ask"), EXCHANGES)
def test_an_answer_is_as_documented(api: httpx.Client, template: str, status: int, ask: Ask) -> None:
    answer = ask(api)
    assert answer.status_code == status, answer.text
    demand_documented(template, answer)


def test_pods_in_every_status_and_what_they_cost_are_as_documented(runpod: RunningRunpod, api: httpx.Client) -> None:
    running, stopped, failed, ended = made(api, ports=["22/tcp", "8888/http"]), made(api), made(api), made(api)
    wait_until(lambda: api.get(f"/v2/pods/{running}").json()["status"] == "RUNNING")
    api.post(f"/v2/pods/{stopped}/action", json={"action": "stop"})
    runpod.deal(failed, "container_error")
    api.delete(f"/v2/pods/{ended}")
    seen = {}
    for pod_id in (running, stopped, failed, ended):
        answer = api.get(f"/v2/pods/{pod_id}")
        demand_documented("/v2/pods/{id}", answer)
        seen[pod_id] = answer.json()["status"]
    assert seen == {running: "RUNNING", stopped: "EXITED", failed: "ERROR", ended: "TERMINATED"}
    bills = api.get("/v2/billing/pods")
    assert bills.json()["metadata"]["uniquePodCount"] >= 4
    demand_documented("/v2/billing/pods", bills)
    demand_documented("/v2/pods", api.get("/v2/pods"))


@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_that_answers_in_json_is_as_documented(runpod: RunningRunpod, api: httpx.Client, kind: str) -> None:
    runpod.break_next(kind, operation="create")
    answer = api.post("/v2/pods", json=POD)
    assert answer.status_code >= 400
    demand_documented("/v2/pods", answer)


def test_a_log_stream_is_as_documented(api: httpx.Client) -> None:
    with api.stream("GET", f"/v2/pods/{made(api)}/logs") as stream:
        demand_documented("/v2/pods/{id}/logs", stream)


# Values that are wrong somewhere, right somewhere else, and fields that exist in other places.
ODD: tuple[Any, ...] = (
    *(None, True, 0, 1, -3, 2.5, "", "SECURE", "12.8", "latest", [], ["22/tcp"], [1], {}, {"a": "b"}, {"a": 1}),
    *({"id": "NVIDIA L4"}, {"id": "NVIDIA L4", "count": 0}, {"id": "cpu3c", "vcpuCount": 4}),
    *({"id": "NVIDIA L4", "minCudaVersion": "12"}, {"id": "NVIDIA L4", "minCudaVersion": "12.8"}),
    {"id": "NVIDIA L4", "allowedCudaVersions": ["12.8", "x"]},
    *({"persistent": {"size": 9, "path": "/a"}}, {"persistent": {"size": 10, "path": "/a"}}, {"persistent": {}}),
    {"network": [{"volumeId": "a", "path": "/b"}]},
    {"network": [{"volumeId": "a", "path": "/b"}] * 2},
)
FIELDS = (
    *DOCUMENT["components"]["schemas"]["CreatePodRequest"]["allOf"][1]["properties"],
    *("args", "disk", "env", "image", "ports", "registry", "locked", "interruptible", "dockerArgs"),
)
CHANGES = st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from((*ODD, "(left out)"))), max_size=3)


def changed(body: dict[str, Any], changes: list[tuple[str, Any]]) -> dict[str, Any]:
    body = copy.deepcopy(body)
    for name, value in changes:
        if value == "(left out)":
            body.pop(name, None)
        else:
            body[name] = value
    return body


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_document_and_simulator_agree_which_orders_break_the_contract(
    api: httpx.Client, changes: list[tuple[str, Any]]
) -> None:
    body = changed(POD, changes)
    answer = api.post("/v2/pods", json=body)
    assert (answer.status_code == 422) == (not CREATE.is_valid(body)), (body, answer.text)
    demand_documented("/v2/pods", answer)
    if answer.status_code == 201:
        api.delete(f"/v2/pods/{answer.json()['id']}")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_document_and_simulator_agree_which_changes_break_the_contract(
    api: httpx.Client, changes: list[tuple[str, Any]]
) -> None:
    body, pod_id = changed({}, changes), made(api)
    answer = api.patch(f"/v2/pods/{pod_id}", json=body)
    assert (answer.status_code == 422) == (not UPDATE.is_valid(body)), (body, answer.text)
    demand_documented("/v2/pods/{id}", answer)
    api.delete(f"/v2/pods/{pod_id}")


@pytest.mark.parametrize("body", [{}, {"action": 1}, {"action": "stop", "force": True}, [], "stop", None])
def test_document_and_simulator_agree_that_these_are_no_actions(api: httpx.Client, body: Any) -> None:
    answer = api.post(f"/v2/pods/{made(api)}/action", content=json.dumps(body))
    assert not ACTION.is_valid(body)
    assert answer.status_code == 422
    demand_documented("/v2/pods/{id}/action", answer)
