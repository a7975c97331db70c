"""What the places that secrets are for answer, and what is made of it."""

import asyncio

import httpx
import pytest
import respx
from pydantic import SecretStr

from stoker_deployer.vault import checking
from stoker_deployer.vault.checking import checks
from stoker_deployer.vault.errors import SecretRefused
from stoker_shared.clock import ManualClock
from tests.simulators.hostile.cloud import Cloud
from tests.simulators.hostile.provider import HostileProvider
from tests.unit.deployer.rows import NOW

HUB, WANDB = "https://hub.test", "https://wandb.test"
SECRET = SecretStr("the-very-secret-value")
PLACES = {"huggingface": ("GET", f"{HUB}/api/whoami-v2"), "wandb": ("POST", f"{WANDB}/graphql")}
CHECKS = checks({}, hub_url=HUB, wandb_url=WANDB)


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (httpx.Response(200, json={"data": {"viewer": {"id": "x"}}}), "valid"),
        (httpx.Response(500), "unchecked"),
        (httpx.Response(429), "unchecked"),
        (httpx.Response(302, headers={"Location": "http://elsewhere.test"}), "unchecked"),
        (httpx.ConnectError("no route"), "unchecked"),
        (httpx.ReadTimeout("slow"), "unchecked"),
    ],
)
async def test_only_a_clear_yes_is_valid(name: str, answer: httpx.Response | Exception, state: str) -> None:
    with respx.mock(assert_all_called=True) as routes:
        method, url = PLACES[name]
        told = {"side_effect": answer} if isinstance(answer, Exception) else {"return_value": answer}
        routes.request(method, url).mock(**told)
        assert (await CHECKS[name](SECRET)).state == state


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("huggingface", httpx.Response(401, text=f"no: {SECRET.get_secret_value()}")),
        ("huggingface", httpx.Response(403)),
        ("wandb", httpx.Response(401)),
        ("wandb", httpx.Response(200, text='{"data": {"viewer": null}}')),
    ],
)
async def test_a_no_is_told_without_the_secret(name: str, answer: httpx.Response) -> None:
    with respx.mock as routes:
        method, url = PLACES[name]
        routes.request(method, url).mock(return_value=answer)
        with pytest.raises(SecretRefused) as caught:
            await CHECKS[name](SECRET)
    assert SECRET.get_secret_value() not in str(caught.value)


async def test_the_secret_goes_to_its_place_as_that_place_wants_it() -> None:
    with respx.mock as routes:
        hub = routes.get(PLACES["huggingface"][1]).respond(200)
        wandb = routes.post(PLACES["wandb"][1]).respond(200, json={"data": {"viewer": {"id": "x"}}})
        for name in PLACES:
            await CHECKS[name](SECRET)
    assert hub.calls.last.request.headers["Authorization"] == f"Bearer {SECRET.get_secret_value()}"
    assert wandb.calls.last.request.headers["Authorization"].startswith("Basic ")


async def test_a_provider_tells_whose_the_key_is_and_is_closed() -> None:
    closed = []

    class Closing(HostileProvider):
        async def close(self) -> None:
            closed.append(self)

    cloud = Cloud(ManualClock(NOW), key=SECRET.get_secret_value(), account_id="anna")
    check = checks(
        {"cloud": lambda key: Closing(cloud, name="cloud", key=key.get_secret_value())}, hub_url=HUB, wandb_url=WANDB
    )["cloud"]
    assert (await check(SECRET)).account_id == "anna"
    cloud.is_away = True
    assert (await check(SECRET)).state == "unchecked"
    cloud.is_away, cloud.key = False, "another"
    with pytest.raises(SecretRefused):
        await check(SECRET)
    assert len(closed) == 3


async def test_a_provider_that_never_answers_leaves_a_key_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(HostileProvider):
        async def account_id(self) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(checking, "_PROVIDER_SECONDS", 0.05)
    check = checks({"cloud": lambda _: Silent(Cloud(ManualClock(NOW)))}, hub_url=HUB, wandb_url=WANDB)["cloud"]
    assert await check(SECRET) == checking.Verdict("unchecked")
