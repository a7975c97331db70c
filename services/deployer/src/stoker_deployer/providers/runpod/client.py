"""The calls of RunPod's REST API v2 that a deployer needs, and of GraphQL the one answer that v2 does not have."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from stoker_deployer.providers.runpod.pacing import Urgency
from stoker_deployer.providers.runpod.refusals import is_absent, misshapen
from stoker_deployer.providers.runpod.schemas import (
    BillRecord,
    Bills,
    Catalogue,
    GpuType,
    Myself,
    MyselfAnswer,
    Pod,
    PodList,
)
from stoker_deployer.providers.runpod.sending import Call, ModelT, Sender
from stoker_deployer.providers.runpod.settings import Cloud, RunpodSettings
from stoker_shared.clock import Clock

Action = Literal["stop", "terminate"]

_PAGE = 100
_MOST_PAGES = 1000
_BILL_DAYS = 60
# Short values stand in too many words to be masked, and keep no secret.
_SHORTEST_SECRET = 8


class RunpodClient:
    """One account. Every method raises from the shared tree: what RunPod certainly refused, or `UnknownOutcome`."""

    def __init__(self, key: SecretStr, *, settings: RunpodSettings, http: httpx.AsyncClient, clock: Clock) -> None:
        self._settings = settings
        self._sender = Sender(key, settings=settings, http=http, clock=clock)

    async def create_pod(self, body: dict[str, Any]) -> Pod:
        """Order a pod, once.

        Raises:
            NoCapacity, AuthFailed, InsufficientFunds, InvalidRequest, RateLimited: certainly no pod was made.
            UnknownOutcome: a pod may exist.
        """
        secrets = tuple(str(value) for value in body.get("env", {}).values() if len(str(value)) >= _SHORTEST_SECRET)
        call = Call("POST", self._url("/pods"), Urgency.ORDER, body=body, secrets=secrets)
        return self._sender.parse(Pod, self._sender.checked(await self._sender.sent(call), call), call)

    async def get_pod(self, pod_id: str) -> Pod | None:
        """A pod; None if RunPod does not know it, which just after an order does not mean that there is none."""
        call = Call("GET", self._pod_url(pod_id), Urgency.LOOK)
        response = await self._sender.asked(call)
        return None if is_absent(response) else self._sender.parse(Pod, self._sender.checked(response, call), call)

    async def list_pods(self, *, urgency: Urgency = Urgency.LOOK) -> list[Pod]:
        """All pods of the account. A part is never returned for the whole."""
        pods: list[Pod] = []
        cursors: set[str] = set()
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            params: dict[str, str | int] = {"limit": _PAGE, **({"cursor": cursor} if cursor else {})}
            call = Call("GET", self._url("/pods"), urgency, params=params)
            page = await self._told(PodList, call)
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
        call = Call("GET", self._url("/pods"), Urgency.LOOK, params={"limit": 1})
        await self._told(PodList, call)

    async def delete_pod(self, pod_id: str) -> bool:
        """Release a pod. False if RunPod does not know it, which is no proof that there is none.

        Raises:
            InvalidRequest, AuthFailed: it may not be ended so.
        """
        call = Call("DELETE", self._pod_url(pod_id), Urgency.RELEASE)
        response = await self._sender.asked(call)
        if is_absent(response):
            return False
        self._sender.checked(response, call)
        return True

    async def act(self, pod_id: str, action: Action) -> bool:
        """Stop or terminate a pod. False if RunPod does not know it."""
        url = f"{self._pod_url(pod_id)}/action"
        call = Call("POST", url, Urgency.RELEASE, body={"action": action})
        response = await self._sender.sent(call)
        if is_absent(response):
            return False
        self._sender.checked(response, call)
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
        call = Call("GET", self._url("/catalog/gpus"), Urgency.LOOK, params=params)
        return (await self._told(Catalogue, call)).gpus

    async def bill_of(self, pod_id: str) -> list[BillRecord]:
        """What the books say about one pod, by day. Empty while they say nothing."""
        params: dict[str, str | int] = {"podId": pod_id, "bucketSize": "day", "lastN": _BILL_DAYS}
        call = Call("GET", self._url("/billing/pods"), Urgency.LOOK, params=params)
        records = (await self._told(Bills, call)).records
        # A filter that is not known is ignored without a word.
        return [record for record in records if record.pod_id == pod_id]

    async def balance(self) -> Decimal | None:
        """USD in the account; None if that is not told."""
        myself = await self._myself("clientBalance")
        return None if myself is None else myself.client_balance

    async def account_id(self) -> str | None:
        """Whose the key is; None if that is not told."""
        myself = await self._myself("id")
        return None if myself is None else myself.id

    @asynccontextmanager
    async def log_stream(
        self, pod_id: str, *, since: str, after: str | None, idle: timedelta
    ) -> AsyncIterator[httpx.Response]:
        """The open answer to a question for logs, success or not. `after`, an event's id, counts before `since`."""
        call = Call("GET", f"{self._pod_url(pod_id)}/logs", Urgency.LOOK, params={"since": since})
        headers = {"Last-Event-ID": after} if after else {}
        async with self._sender.events(call, headers=headers, idle=idle) as response:
            yield response

    async def _myself(self, field: str) -> Myself | None:
        # GraphQL only, and that only as long as RunPod keeps it; v2 tells nothing of an account.
        query = {"query": f"query {{ myself {{ {field} }} }}"}
        call = Call("POST", self._settings.graphql_url, Urgency.LOOK, body=query, is_counted=False)
        answer = await self._told(MyselfAnswer, call)
        return answer.data.myself if answer.data else None

    async def _told(self, model: type[ModelT], call: Call) -> ModelT:
        return self._sender.parse(model, self._sender.checked(await self._sender.asked(call), call), call)

    def _url(self, path: str) -> str:
        return f"{self._settings.url.rstrip('/')}{path}"

    def _pod_url(self, pod_id: str) -> str:
        return self._url(f"/pods/{quote(pod_id, safe='')}")
