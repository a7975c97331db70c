"""What can go wrong, as a table. Ordered at `POST /_admin/faults`; each meets the next `times` calls that fit it.

| kind | done? | what the caller gets |
|---|---|---|
| server_error, unavailable | no | 500, 503 as problem+json |
| bad_gateway | no | 502 with a page of a proxy |
| cloudflare | no | 403 with `error code: 1010`, no JSON |
| unauthorized, forbidden, not_found, rate_limited | no | 401, 403, 404, 429 |
| insufficient_balance, bad_request | no | 402, 400 |
| no_capacity | no | 400 with the words for no capacity; `gpu` and `cloud` narrow it |
| hang | no | nothing for `seconds`, then 504 |
| done_then_500 | yes | 500 |
| lost_answer | yes | the connection breaks |
| late | yes, after `seconds` | 504 then; whoever hung up before changes nothing |
| nonsense | yes | 200 with a page instead of JSON |
| slow | yes | the right answer, `seconds` late |
| stuck_provisioning, stuck_starting | yes, create | 201; the pod stays in PROVISIONING or STARTING |
| container_error | yes, create | 201; the pod is in ERROR |
| invisible | yes, create | 201; for `seconds` the pod is unknown to every call and missing in the list |
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from tests.simulators.runpod.problems import NO_BALANCE, NO_CAPACITY, Problem

Operation = Literal[
    "create", "list", "get", "update", "delete", "action", "logs", "catalog", "billing", "graphql", "any"
]
Kind = Literal[
    "server_error", "unavailable", "bad_gateway", "cloudflare", "unauthorized", "forbidden", "not_found",
    "rate_limited", "insufficient_balance", "bad_request", "no_capacity", "hang", "done_then_500", "lost_answer",
    "late", "nonsense", "slow", "stuck_provisioning", "stuck_starting", "container_error", "invisible",
]  # fmt: skip
ON_THE_POD: frozenset[str] = frozenset({"stuck_provisioning", "stuck_starting", "container_error", "invisible"})

Act = Callable[[], Awaitable[Response]]


class Fault(BaseModel):
    """An order for trouble. `times` None: until the faults are taken back."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    operation: Operation = "any"
    times: int | None = Field(default=1, ge=1)
    seconds: float = Field(default=30.0, ge=0)
    gpu: str | None = None
    cloud: Literal["SECURE", "COMMUNITY"] | None = None
    pod_id: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a fault is compared with."""

    operation: Operation
    pod_id: str | None = None
    gpu: str | None = None
    cloud: str | None = None


@dataclass
class Faults:
    """Those that are ordered."""

    ordered: list[Fault] = field(default_factory=list)

    def order(self, fault: Fault) -> None:
        """One more. Trouble with a new pod or with capacity is one of create."""
        if fault.operation == "any" and fault.kind in (*ON_THE_POD, "no_capacity", "insufficient_balance"):
            fault = fault.model_copy(update={"operation": "create"})
        self.ordered.append(fault.model_copy())

    def heal(self) -> None:
        """Take all back."""
        self.ordered.clear()

    def meet(self, call: Call) -> Fault | None:
        """The first fault that fits, counted."""
        found = next((fault for fault in self.ordered if _fits(fault, call)), None)
        if found is not None and found.times is not None:
            found.times -= 1
            if not found.times:
                self.ordered.remove(found)
        return found


def _fits(fault: Fault, call: Call) -> bool:
    wanted = ((fault.gpu, call.gpu), (fault.cloud, call.cloud), (fault.pod_id, call.pod_id))
    return fault.operation in ("any", call.operation) and all(ask in (None, has) for ask, has in wanted)


async def spoil(fault: Fault, act: Act) -> Response:
    """The answer to a call that meets a fault.

    Raises:
        Problem: as the fault wants it.
    """
    if fault.kind in _REFUSALS:
        status, detail = _REFUSALS[fault.kind]
        raise Problem(status, detail, headers={"Retry-After": "1"} if status == 429 else None)
    return await _DEEDS[fault.kind](fault, act)


_REFUSALS: dict[Kind, tuple[int, str]] = {
    "server_error": (500, "Something went wrong. Please try again later or contact support."),
    "unavailable": (503, "service temporarily unavailable"),
    "unauthorized": (401, "invalid bearer token"),
    "forbidden": (403, "access denied"),
    "not_found": (404, "resource not found"),
    "rate_limited": (429, "rate limit exceeded for the minute window"),
    "insufficient_balance": (402, NO_BALANCE),
    "bad_request": (400, "the request could not be processed"),
    "no_capacity": (400, NO_CAPACITY),
}


def firewall() -> Response:
    """What Cloudflare answers to whom it does not like."""
    return PlainTextResponse("error code: 1010", status_code=403)


def _page(status: int) -> Response:
    return Response("<html><head><title>api</title></head><body></body></html>", status, media_type="text/html")


async def _bad_gateway(_fault: Fault, _act: Act) -> Response:
    return _page(502)


async def _cloudflare(_fault: Fault, _act: Act) -> Response:
    return firewall()


async def _hang(fault: Fault, _act: Act) -> Response:
    await asyncio.sleep(fault.seconds)
    return _page(504)


async def _done_then_500(_fault: Fault, act: Act) -> Response:
    await act()
    raise Problem(*_REFUSALS["server_error"])


async def _lost_answer(_fault: Fault, act: Act) -> Response:
    await act()

    async def broken() -> AsyncIterator[bytes]:
        yield b"{"
        raise ConnectionAbortedError

    return StreamingResponse(broken(), headers={"Content-Length": "4096"})


async def _late(fault: Fault, act: Act) -> Response:
    async def later() -> None:
        await asyncio.sleep(fault.seconds)
        await act()

    # A task of its own: the caller may hang up long before.
    await asyncio.shield(asyncio.get_running_loop().create_task(later(), name="late call"))
    return _page(504)


async def _nonsense(_fault: Fault, act: Act) -> Response:
    await act()
    return _page(200)


async def _slow(fault: Fault, act: Act) -> Response:
    await asyncio.sleep(fault.seconds)
    return await act()


_DEEDS: dict[Kind, Callable[[Fault, Act], Awaitable[Response]]] = {
    "bad_gateway": _bad_gateway,
    "cloudflare": _cloudflare,
    "hang": _hang,
    "done_then_500": _done_then_500,
    "lost_answer": _lost_answer,
    "late": _late,
    "nonsense": _nonsense,
    "slow": _slow,
}
