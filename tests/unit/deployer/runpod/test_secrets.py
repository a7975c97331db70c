"""The key and the tokens of a pod show nowhere."""

import logging
import traceback
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from stoker_deployer.providers.runpod import RunpodProvider
from stoker_deployer.providers.runpod.schemas import Pod
from stoker_shared.errors import AuthFailed, ProviderError
from tests.unit.deployer.runpod.account import KEY, TOKEN, URL, account, order, pod, problem

ANSWERS = {
    "it repeats the order": problem(422, f"env.JOB_TOKEN {TOKEN!r} is odd", errors=[f"$.env: {TOKEN}", f"key {KEY}"]),
    "it repeats the key": problem(403, f"the key {KEY} may not"),
    "the firewall repeats all": httpx.Response(403, text=f"{KEY} {TOKEN}"),
    "the gateway repeats all": httpx.Response(502, text=f"{KEY} {TOKEN}"),
    "half a pod": httpx.Response(201, json={"id": "x", "env": {"JOB_TOKEN": TOKEN}, "status": TOKEN}),
    "a pod of another form": httpx.Response(201, json=pod(env=[TOKEN], cost=TOKEN, createdAt=TOKEN)),
}
FAILURES = [httpx.ReadTimeout, httpx.ConnectError, httpx.RemoteProtocolError, httpx.InvalidURL]


def _everything(error: BaseException) -> str:
    """What an operator's log would have, and more."""
    return "".join(traceback.format_exception(error, limit=None)) + repr(error) + repr(vars(error))


def _assert_hidden(text: str) -> None:
    assert KEY not in text
    assert TOKEN not in text


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_that_repeats_what_was_sent_does_not_show_it(
    answer: httpx.Response, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with account() as here:
        here.list_is()
        here.routes.post(f"{URL}/pods").mock(return_value=answer)
        with pytest.raises(ProviderError) as refused:
            await here.provider.launch(order())
        _assert_hidden(_everything(refused.value))
        _assert_hidden(caplog.text)


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_call_that_fails_does_not_show_what_was_sent(
    failure: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with account() as here:
        here.list_is()
        here.routes.post(f"{URL}/pods").mock(side_effect=failure("broken"))
        with pytest.raises(ProviderError) as refused:
            await here.provider.launch(order())
        _assert_hidden(_everything(refused.value))
        _assert_hidden(caplog.text)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} x", f"{KEY}ü", f"\x00{KEY}"])
async def test_a_key_that_cannot_be_sent_is_not_quoted(key: str) -> None:
    async with account(key=key) as here:
        with pytest.raises(AuthFailed) as refused:
            await here.provider.list_machines()
        _assert_hidden(_everything(refused.value))
        assert not here.routes.calls


def _reachable(thing: Any) -> str:
    return repr(thing) + "".join(repr(value) for value in vars(thing).values())


async def test_neither_provider_nor_order_nor_pod_shows_a_secret() -> None:
    async with account() as here:
        provider: RunpodProvider = here.provider
        _assert_hidden(_reachable(provider))
        _assert_hidden(_reachable(provider._client))
        _assert_hidden(_reachable(provider._client._sender))
    _assert_hidden(repr(order()))
    _assert_hidden(repr(Pod.model_validate(pod())))
    _assert_hidden(repr(SecretStr(KEY)))


async def test_the_key_goes_to_runpod_alone() -> None:
    async with account() as here:
        elsewhere = httpx.Response(302, headers={"Location": "https://elsewhere.test/pods"})
        here.routes.get(f"{URL}/pods").mock(return_value=elsewhere)
        taken = here.routes.get(url__startswith="https://elsewhere.test")
        hub = here.routes.get(url__startswith="https://hub.test").respond(503)
        with pytest.raises(ProviderError):
            await here.provider.list_machines()
        with pytest.raises(Exception, match="Hub"):
            await here.provider.inspect_model("org/model")
        assert not taken.called
        assert "Authorization" not in hub.calls.last.request.headers
