"""RunPod's REST API v2, and of GraphQL the one answer that v2 does not have. The only place that sends anything.

Nothing here is sent twice but a question whose connection broke. An order (`POST`) goes out once; what became of one
without an answer is for the caller to find out by looking.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, SecretStr, ValidationError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from stoker_deployer.providers.runpod.errors import PROVIDER, Unreachable
from stoker_deployer.providers.runpod.pacing import Pace, Urgency
from stoker_deployer.providers.runpod.refusals import is_absent, misshapen, no_answer, refusal, retry_after
from stoker_deployer.providers.runpod.schemas import (
    BillRecord,
    Bills,
    Catalogue,
    GpuType,
    MyselfAnswer,
    Pod,
    PodList,
)
from stoker_deployer.providers.runpod.settings import Cloud, RunpodSettings
from stoker_shared.clock import Clock
from stoker_shared.errors import UnknownOutcome

Action = Literal["stop", "terminate"]

# Cloudflare refuses clients that do not say who they are.
USER_AGENT = f"stoker/{version('stoker-deployer')}"
_PAGE = 100
_MOST_PAGES = 1000
_BILL_DAYS = 60
# A provider's connection is not worth keeping for long: what it closes meanwhile loses a call.
_KEEPALIVE_SECONDS = 10.0
# A 429 that does not say for how long.
_REFUSED_WITHOUT_A_WORD = timedelta(seconds=5)
# Short values stand in too many words to be masked, and keep no secret.
_SHORTEST_SECRET = 8

ModelT = TypeVar("ModelT", bound=BaseModel)


def runpod_http_client(settings: RunpodSettings) -> httpx.AsyncClient:
    """The connections that all accounts share. It knows no key: each call brings its own."""
    return httpx.AsyncClient(
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        timeout=_timeout(settings, settings.timeout.total_seconds()),
        limits=httpx.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
        # A redirect would take the key elsewhere.
        follow_redirects=False,
        trust_env=not _is_here(settings.url),
    )


@dataclass(frozen=True, slots=True)
class _Call:
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


class RunpodClient:
    """One account. Every method raises from the shared tree: what RunPod certainly refused, or `UnknownOutcome`."""

    def __init__(self, key: SecretStr, *, settings: RunpodSettings, http: httpx.AsyncClient, clock: Clock) -> None:
        self._key = key
        self._settings = settings
        self._http = http
        self._pace = Pace(clock=clock)

    async def create_pod(self, body: dict[str, Any]) -> Pod:
        """Order a pod, once.

        Raises:
            NoCapacity, AuthFailed, InsufficientFunds, InvalidRequest, RateLimited: certainly no pod was made.
            UnknownOutcome: a pod may exist.
        """
        secrets = tuple(str(value) for value in body.get("env", {}).values() if len(str(value)) >= _SHORTEST_SECRET)
        call = _Call("POST", self._url("/pods"), Urgency.ORDER, body=body, secrets=secrets)
        return self._parse(Pod, await self._accepted(call), call)

    async def get_pod(self, pod_id: str) -> Pod | None:
        """A pod; None if RunPod does not know it, which just after an order does not mean that there is none."""
        call = _Call("GET", self._pod_url(pod_id), Urgency.LOOK)
        response = await self._asked(call)
        return None if is_absent(response) else self._parse(Pod, self._checked(response, call), call)

    async def list_pods(self, *, urgency: Urgency = Urgency.LOOK) -> list[Pod]:
        """All pods of the account. A part is never returned for the whole."""
        pods: list[Pod] = []
        cursors: set[str] = set()
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            params: dict[str, str | int] = {"limit": _PAGE, **({"cursor": cursor} if cursor else {})}
            call = _Call("GET", self._url("/pods"), urgency, params=params)
            page = self._parse(PodList, self._checked(await self._asked(call), call), call)
            pods += page.pods
            if page.pagination is None or not page.pagination.has_next_page:
                return pods
            cursor = page.pagination.next_cursor
            if not cursor or cursor in cursors:
                break
            cursors.add(cursor)
        raise misshapen("GET /pods", ["pages without end"])

    async def check_key(self) -> None:
        """The cheapest question that needs a key."""
        call = _Call("GET", self._url("/pods"), Urgency.LOOK, params={"limit": 1})
        self._parse(PodList, self._checked(await self._asked(call), call), call)

    async def delete_pod(self, pod_id: str) -> bool:
        """Release a pod. False if RunPod does not know it, which is no proof that there is none.

        Raises:
            InvalidRequest: it may not be ended so.
        """
        call = _Call("DELETE", self._pod_url(pod_id), Urgency.RELEASE)
        response = await self._asked(call)
        if is_absent(response):
            return False
        self._checked(response, call)
        return True

    async def act(self, pod_id: str, action: Action) -> bool:
        """Stop or terminate a pod. False if RunPod does not know it."""
        url = f"{self._pod_url(pod_id)}/action"
        call = _Call("POST", url, Urgency.RELEASE, body={"action": action})
        response = await self._sent(call)
        if is_absent(response):
            return False
        self._checked(response, call)
        return True

    async def gpu_types(self, *, cloud: Cloud, count: int, min_cuda: str | None = None) -> list[GpuType]:
        """The catalogue, with the stock of machines of `count` GPUs in one of the clouds."""
        params: dict[str, str | int] = {
            "include": "AVAILABILITY",
            "product": "POD",
            "count": count,
            "cloud": cloud.upper(),
            **({"minCudaVersion": min_cuda} if min_cuda else {}),
        }
        call = _Call("GET", self._url("/catalog/gpus"), Urgency.LOOK, params=params)
        return self._parse(Catalogue, self._checked(await self._asked(call), call), call).gpus

    async def bill_of(self, pod_id: str) -> list[BillRecord]:
        """What the books say about one pod, by day. Empty while they say nothing."""
        params: dict[str, str | int] = {"podId": pod_id, "bucketSize": "day", "lastN": _BILL_DAYS}
        call = _Call("GET", self._url("/billing/pods"), Urgency.LOOK, params=params)
        records = self._parse(Bills, self._checked(await self._asked(call), call), call).records
        # A filter that is not known is ignored without a word.
        return [record for record in records if record.pod_id == pod_id]

    async def balance(self) -> Decimal | None:
        """USD in the account; None if that is not told. GraphQL only, and that only as long as RunPod keeps it."""
        query = {"query": "query { myself { clientBalance } }"}
        call = _Call("POST", self._settings.graphql_url, Urgency.LOOK, body=query, is_counted=False)
        answer = self._parse(MyselfAnswer, self._checked(await self._asked(call), call), call)
        return answer.data.myself.client_balance if answer.data and answer.data.myself else None

    @asynccontextmanager
    async def log_stream(
        self, pod_id: str, *, params: dict[str, str | int], headers: dict[str, str], idle: float
    ) -> AsyncIterator[httpx.Response]:
        """The open answer to a request for logs, for `streaming`. `idle`: seconds without a byte until it ends."""
        call = _Call("GET", f"{self._pod_url(pod_id)}/logs", Urgency.LOOK, params=params)
        await self._pace.turn(call.urgency)
        timeout = httpx.Timeout(idle, connect=self._settings.connect_timeout.total_seconds())
        accepting = {**self._headers(), **headers, "Accept": "text/event-stream", "Cache-Control": "no-store"}
        async with self._http.stream("GET", call.url, params=params, headers=accepting, timeout=timeout) as response:
            self._pace.note(response, refused_for=_refused_for(response))
            if not response.is_success:
                await response.aread()
            yield response

    async def _accepted(self, call: _Call) -> httpx.Response:
        return self._checked(await self._sent(call), call)

    async def _asked(self, call: _Call) -> httpx.Response:
        """A call that changes nothing, or nothing more the second time. Sent again once if its connection broke."""
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(2), retry=retry_if_exception_type(_ConnectionBroke), reraise=True
        ):
            with attempt:
                return await self._sent(call)
        raise AssertionError("tenacity returns or raises")

    async def _sent(self, call: _Call) -> httpx.Response:
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

    def _limit(self, call: _Call) -> float:
        is_order = call.urgency == Urgency.ORDER and call.method == "POST"
        return (self._settings.launch_timeout if is_order else self._settings.timeout).total_seconds()

    def _checked(self, response: httpx.Response, call: _Call) -> httpx.Response:
        if response.is_success:
            return response
        error = refusal(response, secrets=(*call.secrets, self._key.get_secret_value()))
        # What changes nothing has no outcome that could be unknown.
        if type(error) is UnknownOutcome and call.method == "GET":
            raise Unreachable(error.detail.removeprefix(f"{PROVIDER}: "))
        raise error

    def _parse(self, model: type[ModelT], response: httpx.Response, call: _Call) -> ModelT:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in error.errors()[:5]]
            # The original quotes what it could not read, which may be an environment with tokens.
            raise misshapen(repr(call), faults) from None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key.get_secret_value()}", "User-Agent": USER_AGENT}

    def _url(self, path: str) -> str:
        return f"{self._settings.url.rstrip('/')}{path}"

    def _pod_url(self, pod_id: str) -> str:
        return self._url(f"/pods/{quote(pod_id, safe='')}")


class _ConnectionBroke(Unreachable):
    """Worth asking again at once: most often an idle connection that RunPod had closed."""


def _refused_for(response: httpx.Response) -> timedelta | None:
    return (retry_after(response) or _REFUSED_WITHOUT_A_WORD) if response.status_code == 429 else None


def _timeout(settings: RunpodSettings, seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=settings.connect_timeout.total_seconds())


def _is_here(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
