"""What the provider makes of RunPod's answers."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from stoker_deployer.providers import Alive, AliveKind, Exited, Gone, Unknown
from stoker_deployer.providers.runpod import RunpodSettings
from stoker_deployer.providers.runpod.sending import USER_AGENT
from stoker_shared.errors import AuthFailed, InvalidRequest, NoCapacity, ProviderError, UnknownOutcome
from tests.unit.deployer.runpod.account import (
    KEY,
    NAME,
    NO_CAPACITY,
    SETTINGS,
    URL,
    Account,
    account,
    order,
    pod,
    problem,
)

HANDLE = "7h9k2m4n6p"
POD = f"{URL}/pods/{HANDLE}"
CREATED = datetime(2026, 11, 22, 11, 50, tzinfo=UTC)
STARTED = datetime(2026, 11, 22, 11, 52, tzinfo=UTC)
ABSENT = problem(404, "resource not found")


async def test_an_order_is_what_runpod_expects() -> None:
    async with account() as here:
        here.list_is()
        sent = here.routes.post(f"{URL}/pods").respond(201, json=pod("PROVISIONING", cost=0.74, startedAt=None))
        machine = await here.provider.launch(order(volume_size_gb=100))
        request = sent.calls.last.request
    assert (machine.handle, machine.name, machine.state) == (HANDLE, NAME, Alive(AliveKind.STARTING))
    assert json.loads(request.content) == {
        "name": NAME,
        "image": SETTINGS.image,
        "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1, "minCudaVersion": "12.8"},
        "cloud": "SECURE",
        "args": f"bash -c 'run {NAME}'",
        "disk": 40,
        "mounts": {"persistent": {"size": 100, "path": "/workspace"}},
        "env": dict(order().environment),
    }
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["User-Agent"] == USER_AGENT
    assert USER_AGENT.startswith("stoker/")


async def test_an_image_of_the_users_and_chosen_places_are_ordered() -> None:
    async with account(RunpodSettings(data_centres=("EU-RO-1",))) as here:
        here.list_is()
        sent = here.routes.post(f"{URL}/pods").respond(201, json=pod("PROVISIONING"))
        await here.provider.launch(order(image="mine:1", place="community"))
        body = json.loads(sent.calls.last.request.content)
    assert (body["image"], body["cloud"], body["dataCenterIds"]) == ("mine:1", "COMMUNITY", ["EU-RO-1"])
    assert body["gpu"] == {"id": "NVIDIA GeForce RTX 4090", "count": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpu_count": 0}, "without a GPU"),
        ({"place": "the moon"}, "the moon"),
        ({"environment": {f"V{n}": "x" for n in range(51)}}, "51 environment variables"),
        ({"environment": {"V": "x" * 100_001}}, "100000 are possible"),
    ],
    ids=["no GPU", "no such place", "too many variables", "too long"],
)
async def test_what_runpod_would_refuse_is_refused_before_any_call(changes: dict[str, Any], said: str) -> None:
    async with account() as here:
        with pytest.raises(InvalidRequest, match=said):
            await here.provider.launch(order(**changes))
        assert not here.routes.calls


async def test_a_pod_that_is_there_from_the_same_order_is_taken_and_none_is_ordered() -> None:
    async with account() as here:
        here.list_is(pod(name="somebody-elses", id="other"), pod())
        machine = await here.provider.launch(order())
        assert machine.handle == HANDLE


@pytest.mark.parametrize(
    "pods",
    [
        [pod(env={"JOB_TOKEN": "another"})],
        [pod(image="another")],
        [pod(env=None)],
        [pod(), pod(id="second")],
    ],
    ids=["another token", "another image", "variables not shown", "two"],
)
async def test_a_name_that_is_taken_otherwise_is_a_reason_to_look(pods: list[dict[str, Any]]) -> None:
    async with account() as here:
        here.list_is(*pods)
        with pytest.raises(UnknownOutcome, match="taken"):
            await here.provider.launch(order())


async def test_while_it_cannot_be_seen_whether_a_pod_is_there_none_is_ordered() -> None:
    async with account() as here:
        here.routes.get(f"{URL}/pods").respond(503)
        sent = here.routes.post(f"{URL}/pods")
        with pytest.raises(UnknownOutcome):
            await here.provider.launch(order())
        assert not sent.called


async def test_after_an_order_without_an_answer_no_pod_is_not_believed_until_it_must_be_done() -> None:
    async with account() as here:
        here.list_is()
        sent = here.routes.post(f"{URL}/pods").mock(side_effect=httpx.ReadTimeout)
        with pytest.raises(UnknownOutcome):
            await here.provider.launch(order())
        with pytest.raises(UnknownOutcome):
            await here.provider.find(NAME)
        with pytest.raises(UnknownOutcome):
            await here.provider.launch(order())
        assert sent.call_count == 1
        here.clock.advance(timedelta(seconds=61))
        assert await here.provider.find(NAME) == []


async def test_an_order_whose_answer_was_lost_is_found_by_its_name() -> None:
    async with account() as here:
        listed = here.list_is()
        here.routes.post(f"{URL}/pods").respond(500, json={"title": "x", "status": 500, "detail": "read-back failed"})
        with pytest.raises(UnknownOutcome):
            await here.provider.launch(order())
        listed.respond(json={"pods": [pod()]})
        assert [machine.handle for machine in await here.provider.find(NAME)] == [HANDLE]


async def test_after_a_refusal_the_absence_of_a_pod_is_believed_at_once() -> None:
    async with account() as here:
        here.list_is()
        here.routes.post(f"{URL}/pods").mock(return_value=problem(400, NO_CAPACITY))
        with pytest.raises(NoCapacity):
            await here.provider.launch(order())
        assert await here.provider.find(NAME) == []


async def test_a_launch_ends_in_time() -> None:
    async def never(_request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with account(RunpodSettings(launch_timeout=timedelta(milliseconds=50))) as here:
        here.list_is()
        here.routes.post(f"{URL}/pods").mock(side_effect=never)
        with pytest.raises(UnknownOutcome):
            await here.provider.launch(order())


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROVISIONING", Alive(AliveKind.STARTING, STARTED)),
        ("STARTING", Alive(AliveKind.STARTING, CREATED)),
        ("RUNNING", Alive(AliveKind.RUNNING, CREATED)),
        ("EXITED", Exited(None, CREATED, note="RunPod tells EXITED")),
        ("ERROR", Exited(None, CREATED, note="RunPod tells ERROR")),
        ("TERMINATED", Gone(CREATED)),
    ],
)
async def test_a_pods_status_is_told(status: str, state: object) -> None:
    async with account() as here:
        here.routes.get(POD).respond(json=pod(status))
        assert await here.provider.describe(HANDLE) == state


async def test_a_status_that_nobody_knows_is_unknown() -> None:
    async with account() as here:
        here.routes.get(POD).respond(json=pod("HIBERNATING"))
        assert isinstance(await here.provider.describe(HANDLE), Unknown)


async def test_a_pod_that_is_young_is_not_taken_for_gone() -> None:
    async with account() as here:
        here.list_is()
        here.routes.post(f"{URL}/pods").respond(201, json=pod("PROVISIONING"))
        here.routes.get(POD).mock(return_value=ABSENT)
        await here.provider.launch(order())
        assert isinstance(await here.provider.describe(HANDLE), Unknown)
        here.clock.advance(timedelta(seconds=61))
        assert isinstance(await here.provider.describe(HANDLE), Gone)


async def test_a_young_pod_whose_end_was_taken_is_gone_when_it_is_absent() -> None:
    async with account() as here:
        here.list_is()
        here.routes.post(f"{URL}/pods").respond(201, json=pod("PROVISIONING"))
        here.routes.delete(POD).respond(204)
        here.routes.get(POD).mock(return_value=ABSENT)
        await here.provider.launch(order())
        await here.provider.terminate(HANDLE)
        assert isinstance(await here.provider.describe(HANDLE), Gone)


async def test_absent_at_its_address_and_present_in_the_list_is_not_gone() -> None:
    async with account() as here:
        here.routes.get(POD).mock(return_value=ABSENT)
        here.list_is(pod())
        assert await here.provider.describe(HANDLE) == Alive(AliveKind.RUNNING, CREATED)


async def test_absent_at_its_address_while_the_list_cannot_be_read_is_unknown() -> None:
    async with account() as here:
        here.routes.get(POD).mock(return_value=ABSENT)
        here.routes.get(f"{URL}/pods").respond(502)
        assert isinstance(await here.provider.describe(HANDLE), Unknown)


async def test_a_container_that_was_started_again_is_noted() -> None:
    async with account() as here:
        route = here.routes.get(POD)
        notes = []
        for uptime in (60, 90, 5, 35, 1):
            route.respond(json=pod(runtime={"uptime": uptime}))
            state = await here.provider.describe(HANDLE)
            assert isinstance(state, Alive)
            notes.append(state.note)
    assert notes[:2] == ["", ""]
    assert "1 times" in notes[2]
    assert notes[2] == notes[3]
    assert "2 times" in notes[4]


async def test_all_pages_make_the_list() -> None:
    async with account() as here:
        pages = {
            None: {"pods": [pod(id="a")], "pagination": {"hasNextPage": True, "nextCursor": "2"}},
            "2": {"pods": [pod(id="b")], "pagination": {"hasNextPage": True, "nextCursor": "3"}},
            "3": {"pods": [pod(id="c")], "pagination": {"hasNextPage": False, "nextCursor": None}},
        }
        here.routes.get(f"{URL}/pods").mock(
            side_effect=lambda request: httpx.Response(200, json=pages[request.url.params.get("cursor")])
        )
        assert [machine.handle for machine in await here.provider.list_machines()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "second",
    [
        httpx.Response(500),
        httpx.Response(200, json={"pods": [{"id": "b"}]}),
        httpx.Response(200, json={"pods": [], "pagination": {"hasNextPage": True, "nextCursor": "2"}}),
        httpx.Response(200, json={"pods": [], "pagination": {"hasNextPage": True}}),
        httpx.Response(200, json={"machines": []}),
    ],
    ids=["a page fails", "half a pod", "a cursor again", "no cursor", "another form"],
)
async def test_a_part_of_the_list_is_never_the_list(second: httpx.Response) -> None:
    async with account() as here:
        first = httpx.Response(
            200, json={"pods": [pod(id="a")], "pagination": {"hasNextPage": True, "nextCursor": "2"}}
        )
        here.routes.get(f"{URL}/pods").mock(side_effect=[first, second])
        with pytest.raises(UnknownOutcome):
            await here.provider.list_machines()


async def test_a_pods_price_has_its_disks_and_no_price_is_none() -> None:
    async with account() as here:
        here.list_is(pod(), pod("EXITED", id="b", cost=0.0), pod(id="c", mounts={}, disk=0, cost=0.74))
        prices = [machine.price_micro_usd_per_hour for machine in await here.provider.list_machines()]
    assert prices == [740_000 + 10_959, None, 740_000]  # 80 GB at 0.10 USD a month of 730 hours


async def test_a_pod_that_is_not_there_is_released_without_an_error() -> None:
    async with account() as here:
        here.routes.delete(POD).mock(return_value=ABSENT)
        acted = here.routes.post(f"{POD}/action").mock(return_value=ABSENT)
        await here.provider.terminate(HANDLE)
        assert json.loads(acted.calls.last.request.content) == {"action": "terminate"}


@pytest.mark.parametrize(
    "answer", [ABSENT, problem(409, "member of a cluster"), problem(405, "not allowed"), problem(403, "access denied")]
)
async def test_what_cannot_be_deleted_is_terminated_the_other_way(answer: httpx.Response) -> None:
    async with account() as here:
        here.routes.delete(POD).mock(return_value=answer)
        acted = here.routes.post(f"{POD}/action").respond(204)
        await here.provider.terminate(HANDLE)
        assert acted.called


@pytest.mark.parametrize(
    ("answer", "error"), [(httpx.Response(500), UnknownOutcome), (problem(401), AuthFailed)], ids=["500", "401"]
)
async def test_an_end_that_is_not_taken_is_an_error(answer: httpx.Response, error: type[ProviderError]) -> None:
    async with account() as here:
        here.routes.delete(POD).mock(return_value=answer)
        here.routes.post(f"{POD}/action").mock(return_value=answer)
        with pytest.raises(error):
            await here.provider.terminate(HANDLE)


async def test_by_a_name_every_pod_of_that_name_is_released() -> None:
    async with account() as here:
        here.routes.route(url__startswith=f"{URL}/pods/{NAME}").mock(return_value=ABSENT)
        here.list_is(pod(id="a"), pod(id="b"), pod(id="c", name="job-00000000000000bb-1"))
        ended = [here.routes.delete(f"{URL}/pods/{handle}").respond(204) for handle in "abc"]
        await here.provider.terminate(NAME)
        assert [route.called for route in ended] == [True, True, False]


async def test_health_tells_the_balance_and_that_it_is_gone() -> None:
    async with account() as here:
        here.list_is()
        balance = here.routes.post("https://api.runpod.io/graphql")
        balance.respond(json={"data": {"myself": {"clientBalance": 12.5}}})
        health = await here.provider.health()
        assert (health.is_usable, health.balance_micro_usd, health.detail) == (True, 12_500_000, "balance $12.50")
        assert (health.machines_are_here, health.default_volume_gb) == (False, 40)
        balance.respond(json={"data": {"myself": {"clientBalance": -0.01}}})
        health = await here.provider.health()
        assert (health.is_usable, health.balance_micro_usd) == (False, -10_000)
        assert health.next_step


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"errors": [{"message": "Unauthorized"}], "data": {"myself": None}}),
        httpx.Response(200, json={"errors": [{"message": "x"}], "data": None}),
        httpx.Response(403, text="error code: 1010"),
        httpx.Response(410),
        httpx.Response(429, headers={"Retry-After": "3600"}),
        httpx.Response(200, text="<html>"),
    ],
    ids=["refused", "broken", "firewall", "retired", "limited", "no JSON"],
)
async def test_a_balance_that_is_not_told_is_unknown_and_nothing_else_suffers(answer: httpx.Response) -> None:
    async with account() as here:
        here.list_is()
        here.routes.post("https://api.runpod.io/graphql").mock(return_value=answer)
        health = await here.provider.health()
        assert (health.is_usable, health.balance_micro_usd) == (True, None)
        assert await here.provider.list_machines() == []


def _books(here: Account, *amounts: float, pod_id: str = HANDLE) -> None:
    records = [
        {
            "startTime": "2026-11-22T00:00:00Z",
            "endTime": "2026-11-23T00:00:00Z",
            "podId": pod_id,
            "totalAmount": amount,
            "gpuAmount": amount,
            "cpuAmount": 0,
            "diskAmount": 0,
        }
        for amount in amounts
    ]
    here.routes.get(f"{URL}/billing/pods").respond(json={"records": records, "metadata": {}})


async def test_a_bill_counts_when_it_has_stopped_to_grow() -> None:
    async with account() as here:
        _books(here)
        assert await here.provider.billed(HANDLE) is None
        _books(here, 0.1)
        assert await here.provider.billed(HANDLE) is None
        here.clock.advance(timedelta(minutes=11))
        _books(here, 0.1, 0.023456)
        assert await here.provider.billed(HANDLE) is None
        here.clock.advance(timedelta(minutes=10))
        assert await here.provider.billed(HANDLE) == 123_456


async def test_the_books_of_another_pod_are_not_this_ones() -> None:
    async with account(RunpodSettings(bill_settles_after=timedelta(0))) as here:
        _books(here, 5.0, pod_id="another")
        assert await here.provider.billed(HANDLE) is None
