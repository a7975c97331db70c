"""What every call passes: firewall, key, quota, fault. And what every answer carries: an id and the quotas left."""

import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from tests.simulators.runpod.accounts import Caller
from tests.simulators.runpod.cloud import Cloud
from tests.simulators.runpod.faults import ON_THE_POD, Call, Fault, Faults, Operation, firewall, spoil
from tests.simulators.runpod.problems import Problem

log = logging.getLogger(__name__)

Handler = Callable[["Visit"], Awaitable[Response]]
MOST_CALLS = 20_000


@dataclass
class Visit:
    """One call that was let in. `mark` is trouble that a pod of its making will have."""

    request: Request
    caller: Caller
    operation: Operation
    mark: Fault | None = None

    @property
    def pod_id(self) -> str:
        """The pod that the path names."""
        return str(self.request.path_params.get("id", ""))

    @property
    def by(self) -> str:
        """Who it is, and how it asks: `pod: delete`, `account: terminate`."""
        return f"{'pod' if self.caller.pod_id else 'account'}: {self.operation}"


@dataclass
class CallRecord:
    """A call that arrived. No key, no body."""

    at: datetime
    operation: str
    pod_id: str
    by: str
    status: int = 0
    fault: str = ""


class Door:
    """Lets calls in, or not."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.faults = cloud, Faults()
        self.calls: deque[CallRecord] = deque(maxlen=MOST_CALLS)

    def endpoint(self, operation: Operation, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """The handler behind the door."""

        async def visit(request: Request) -> Response:
            record = CallRecord(self.cloud.clock.now(), operation, request.path_params.get("id", ""), "nobody")
            self.calls.append(record)
            response = await self._answer(request, operation, handler, record)
            record.status = response.status_code
            response.headers["x-request-id"] = secrets.token_hex(8)
            return response

        return visit

    async def _answer(self, request: Request, operation: Operation, handler: Handler, record: CallRecord) -> Response:
        if self._is_refused(request.headers.get("User-Agent", "")):
            return firewall()
        try:
            caller = self.cloud.accounts.caller(request.headers.get("Authorization"))
        except Problem as problem:
            return problem.response()
        record.by = f"pod {caller.pod_id}" if caller.pod_id else caller.account.name
        quotas, now = caller.account.quotas, self.cloud.clock.now()
        try:
            quotas.count(now)
            response = await self._handle(Visit(request, caller, operation), handler, record)
        except Problem as problem:
            response = problem.response()
        except Exception:
            log.exception("the simulator failed at %s", operation)
            response = Problem(500, "the simulator failed: see its log").response()
        response.headers.update(quotas.headers(now))
        return response

    async def _handle(self, visit: Visit, handler: Handler, record: CallRecord) -> Response:
        gpu, cloud = await _wish(visit.request) if visit.operation == "create" else (None, None)
        fault = self.faults.meet(Call(visit.operation, visit.pod_id or None, gpu, cloud))
        if fault is None:
            return await handler(visit)
        record.fault = fault.kind
        if fault.kind in ON_THE_POD:
            visit.mark = fault
            return await handler(visit)
        return await spoil(fault, lambda: handler(visit))

    def _is_refused(self, agent: str) -> bool:
        return not agent or agent.lower().startswith(self.cloud.rules.refused_user_agents)


async def _wish(request: Request) -> tuple[str | None, str | None]:
    """Type and cloud that a create asks for, as far as they can be read before the body is checked."""
    try:
        body = await request.json()
        return body["gpu"]["id"], body.get("cloud", "SECURE")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None, None
