"""Asks the place that a secret is for whether it accepts it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

import httpx
from pydantic import SecretStr

from stoker_deployer.providers.accounts import ProviderFactory
from stoker_deployer.vault.errors import SecretRefused
from stoker_shared.errors import AuthFailed, ProviderError
from stoker_shared.logging import get_logger
from stoker_shared.rpc.deployer import SET_SECRET

logger = get_logger(__name__)

_SECONDS = 10.0
# Some calls, each with a time limit of its own; whoever sets the secret waits longer than this.
_PROVIDER_SECONDS = SET_SECRET.timeout.total_seconds() * 3 / 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """`account_id`: whose the secret is there, empty if that is not told."""

    state: Literal["valid", "unchecked"]
    account_id: str = ""


Check = Callable[[SecretStr], Awaitable[Verdict]]
"""Raises `SecretRefused` only if the place itself says no."""


def checks(factories: Mapping[str, ProviderFactory], *, hub_url: str, wandb_url: str) -> dict[str, Check]:
    """For each name that can be set, how a secret of that name is checked."""
    return {
        **{name: _provider_check(name, factory) for name, factory in factories.items()},
        "huggingface": _hub_check(hub_url),
        "wandb": _wandb_check(wandb_url),
    }


def _provider_check(name: str, factory: ProviderFactory) -> Check:
    async def check(secret: SecretStr) -> Verdict:
        provider = factory(secret)
        try:
            async with asyncio.timeout(_PROVIDER_SECONDS):
                return Verdict("valid", await provider.account_id())
        except AuthFailed as error:
            _refuse(name, error.detail, secret)
        except ProviderError as error:
            return _unchecked(name, error.detail)
        except TimeoutError:
            return _unchecked(name, "no answer in time")
        finally:
            await provider.close()

    return check


def _hub_check(url: str) -> Check:
    async def check(secret: SecretStr) -> Verdict:
        headers = {"Authorization": f"Bearer {secret.get_secret_value()}"}
        answer = await _asked("huggingface", "GET", f"{url}/api/whoami-v2", headers=headers)
        if answer is not None and answer.status_code in (401, 403):
            _refuse("huggingface", f"it answered {answer.status_code}", secret)
        return _verdict("huggingface", answer)

    return check


def _wandb_check(url: str) -> Check:
    async def check(secret: SecretStr) -> Verdict:
        # A key that is not known is answered 200, with nobody as the viewer.
        answer = await _asked(
            "wandb", "POST", f"{url}/graphql", auth=("api", secret.get_secret_value()), json={"query": "{viewer{id}}"}
        )
        is_refused = answer is not None and (
            answer.status_code in (401, 403) or (answer.is_success and '"viewer":null' in answer.text.replace(" ", ""))
        )
        if is_refused:
            _refuse("wandb", "it does not know the key", secret)
        return _verdict("wandb", answer)

    return check


async def _asked(
    name: str,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    json: object = None,
) -> httpx.Response | None:
    try:
        async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
            return await client.request(method, url, headers=headers, auth=auth, json=json)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        logger.info("not reachable, stored unchecked", name=name, reason=type(error).__name__)
        return None


def _verdict(name: str, answer: httpx.Response | None) -> Verdict:
    if answer is None:
        return Verdict("unchecked")
    return Verdict("valid") if answer.is_success else _unchecked(name, f"it answered {answer.status_code}")


def _unchecked(name: str, why: str) -> Verdict:
    logger.info("not checked, stored all the same", name=name, reason=why)
    return Verdict("unchecked")


def _refuse(name: str, why: str, secret: SecretStr) -> NoReturn:
    # Words of somebody else's: should they repeat what was sent, it goes no further.
    raise SecretRefused(name, why.replace(secret.get_secret_value(), "***")) from None
