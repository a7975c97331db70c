"""Sends requests to RunPod: the only place that does, and the one that knows the key.

Nothing here is sent twice but a question whose connection broke. An order (`POST`) goes out once; what became of one
without an answer is for the caller to find out by looking.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, SecretStr, ValidationError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from stoker_deployer.providers.runpod.errors import PROVIDER, Unreachable
from stoker_deployer.providers.runpod.pacing import Pace, Urgency
from stoker_deployer.providers.runpod.refusals import misshapen, no_answer, refusal, retry_after
from stoker_deployer.providers.runpod.settings import RunpodSettings
from stoker_shared.clock import Clock
from stoker_shared.errors import AuthFailed, UnknownOutcome

# Cloudflare refuses clients that do not say who they are.
USER_AGENT = f"stoker/{version('stoker-deployer')}"
# A provider's connection is not worth keeping for long: what it closes meanwhile loses a call.
_KEEPALIVE_SECONDS = 10.0
# A 429 that does not say for how long.
_REFUSED_WITHOUT_A_WORD = timedelta(seconds=5)

ModelT = TypeVar("ModelT", bound=BaseModel)


def runpod_http_client(settings: RunpodSettings) -> httpx.AsyncClient:
    """The connections that all accounts share. It knows no key: each call brings its own."""
    return httpx.AsyncClient(
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        timeout=_timeout(settings, settings.timeout.total_seconds()),
        limits=httpx.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
        # A redirect would take the key elsewhere.
        follow_redirects=False,
        trust_env=not settings.is_here,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A request to be sent. `secrets` are values in it that must not come back in an error.

    `is_counted`: the limits that v2 tells of hold for it.
    """

    method: str
    url: str
    urgency: Urgency
    params: dict[str, str | int] | None = None
    body: dict[str, Any] | None = None
    secrets: tuple[str, ...] = ()
    is_counted: bool = True

    def __repr__(self) -> str:
        return f"{self.method} {httpx.URL(self.url).path}"


class Sender:
    """One account's way to RunPod."""

    def __init__(self, key: SecretStr, *, settings: RunpodSettings, http: httpx.AsyncClient, clock: Clock) -> None:
        self._key = key
        self._settings = settings
        self._http = http
        self._pace = Pace(clock=clock)

    async def asked(self, call: Call) -> httpx.Response:
        """A call that changes nothing, or nothing more the second time. Sent again once if its connection broke."""
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(2), retry=retry_if_exception_type(_ConnectionBroke), reraise=True
        ):
            with attempt:
                return await self.sent(call)
        raise AssertionError("tenacity returns or raises")

    async def sent(self, call: Call) -> httpx.Response:
        """The answer to a call that is sent once.

        Raises:
            RateLimited: it was not sent, to stay below the limit.
            Unreachable: no answer. What it asked for may be done all the same.
        """
        if call.is_counted:
            await self._pace.turn(call.urgency)
        seconds = self._limit(call)
        try:
            # One deadline for the whole call: httpx counts each read anew.
            async with asyncio.timeout(seconds):
                response = await self._http.request(
                    call.method,
                    call.url,
                    params=call.params,
                    json=call.body,
                    headers=self._headers(),
                    timeout=_timeout(self._settings, seconds),
                )
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise _ConnectionBroke(no_answer(repr(call), error).detail) from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise no_answer(repr(call), error) from error
        if call.is_counted:
            self._pace.note(response, refused_for=_refused_for(response))
        return response

    def _limit(self, call: Call) -> float:
        is_order = call.urgency == Urgency.ORDER and call.method == "POST"
        return (self._settings.launch_timeout if is_order else self._settings.timeout).total_seconds()

    def checked(self, response: httpx.Response, call: Call) -> httpx.Response:
        """A success, or the error that the answer stands for."""
        if response.is_success:
            return response
        error = refusal(response, secrets=(*call.secrets, self._key.get_secret_value()))
        # What changes nothing has no outcome that could be unknown.
        if type(error) is UnknownOutcome and call.method == "GET":
            raise Unreachable(error.detail.removeprefix(f"{PROVIDER}: "))
        raise error

    def parse(self, model: type[ModelT], response: httpx.Response, call: Call) -> ModelT:
        """An answer's content.

        Raises:
            UnknownOutcome: it has another form.
        """
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in error.errors()[:5]]
            # The original quotes what it could not read, which may be an environment with tokens.
            raise misshapen(repr(call), faults) from None

    @asynccontextmanager
    async def events(self, call: Call, *, headers: dict[str, str], idle: timedelta) -> AsyncIterator[httpx.Response]:
        """The open answer to a question for events. After `idle` without a byte reading it ends in `ReadTimeout`."""
        await self._pace.turn(call.urgency)
        timeout = _timeout(self._settings, idle.total_seconds())
        accepting = {**self._headers(), **headers, "Accept": "text/event-stream", "Cache-Control": "no-store"}
        request = self._http.build_request(
            call.method, call.url, params=call.params, headers=accepting, timeout=timeout
        )
        async with aclosing(await self._http.send(request, stream=True)) as response:
            self._pace.note(response, refused_for=_refused_for(response))
            if not response.is_success:
                await response.aread()
            yield response

    def _headers(self) -> dict[str, str]:
        key = self._key.get_secret_value()
        # The HTTP library would quote it in its error.
        if not key.isascii() or not key.isprintable() or " " in key:
            raise AuthFailed(
                PROVIDER, "the key has characters that no key has", next_step="Set it again, without them."
            )
        return {"Authorization": f"Bearer {key}", "User-Agent": USER_AGENT}


class _ConnectionBroke(Unreachable):
    """Worth asking again at once: most often an idle connection that RunPod had closed."""


def _refused_for(response: httpx.Response) -> timedelta | None:
    return (retry_after(response) or _REFUSED_WITHOUT_A_WORD) if response.status_code == 429 else None


def _timeout(settings: RunpodSettings, seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=settings.connect_timeout.total_seconds())
