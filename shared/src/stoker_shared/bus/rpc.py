"""Questions and answers over NATS request and reply, with errors that cross the wire whole."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, ValidationError

from stoker_shared.bus.broker import Bus
from stoker_shared.errors import RemoteRefusal, RequestInvalid, ServiceUnavailable, StokerError, TransientError
from stoker_shared.figures import ANSWER_SECONDS, ANSWERS, timed
from stoker_shared.logging import get_logger
from stoker_shared.messages import Message
from stoker_shared.rpc.contract import RequestT, ResponseT, Rpc
from stoker_shared.trace import TRACEPARENT_HEADER, enter_trace, span, traceparent

logger = get_logger(__name__)


class _Fault(Message):
    code: str
    status: int
    title: str
    detail: str
    next_step: str = ""
    is_transient: bool = False


class _Reply(BaseModel):
    answer: dict[str, Any] | None = None
    fault: _Fault | None = None


class RpcClient:
    """Asks other services."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ask(self, rpc: Rpc[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Ask and wait for the answer.

        Raises:
            ServiceUnavailable: nobody answers in time. Whether the call took effect is unknown.
            RemoteRefusal: the service refused, in its own words.
        """
        reply = _Reply.model_validate_json(await self._request(rpc, request.model_dump_json().encode()))
        if reply.fault is None:
            return rpc.response.model_validate(reply.answer)
        if reply.fault.is_transient:
            raise ServiceUnavailable(rpc.service, reply.fault.detail)
        raise RemoteRefusal(
            code=reply.fault.code,
            status=reply.fault.status,
            title=reply.fault.title,
            detail=reply.fault.detail,
            next_step=reply.fault.next_step,
        )

    async def _request(self, rpc: Rpc[Any, Any], payload: bytes) -> bytes:
        try:
            message = await self._bus.broker.connection.request(
                rpc.subject,
                payload,
                timeout=rpc.timeout.total_seconds(),
                headers={TRACEPARENT_HEADER: traceparent()},
            )
        except NoRespondersError as error:
            raise ServiceUnavailable(rpc.service, "it is not running") from error
        except (NatsError, TimeoutError, OSError) as error:
            raise ServiceUnavailable(rpc.service, type(error).__name__) from error
        return bytes(message.data)


def answer(bus: Bus, rpc: Rpc[RequestT, ResponseT], handler: Callable[[RequestT], Awaitable[ResponseT]]) -> None:
    """Answer a question. Replicas of the service share the questions; a `StokerError` travels back as a fault."""

    async def respond(message: Msg) -> None:
        traced = enter_trace((message.headers or {}).get(TRACEPARENT_HEADER))
        with (
            structlog.contextvars.bound_contextvars(trace_id=traced),
            timed(ANSWER_SECONDS, rpc.subject),
            span(rpc.subject, kind=SpanKind.SERVER),
        ):
            reply = await _reply(rpc, message.data, handler)
            ANSWERS.labels(rpc.subject, "answered" if reply.fault is None else reply.fault.code).inc()
            await message.respond(reply.model_dump_json().encode())

    bus.respond_to(rpc.subject, queue=rpc.service, respond=respond)


async def _reply(rpc: Rpc[Any, Any], body: bytes, handler: Callable[[Any], Awaitable[Message]]) -> _Reply:
    try:
        request = rpc.request.model_validate_json(body)
    except ValidationError as error:
        return _Reply(fault=_fault(RequestInvalid(f"{rpc.subject}: {error.error_count()} fields are wrong.")))
    try:
        response = await handler(request)
        return _Reply(answer=response.model_dump(mode="json"))
    except StokerError as error:
        if error.status >= 500 and not isinstance(error, TransientError):
            logger.exception("rpc failed", subject=rpc.subject)
        return _Reply(fault=_fault(error))
    except Exception:
        logger.exception("rpc failed", subject=rpc.subject)
        return _Reply(fault=_fault(StokerError(f"{rpc.service} failed inside.", next_step="Its log tells more.")))


def _fault(error: StokerError) -> _Fault:
    code, status, title = error.code, error.status, error.title
    if isinstance(error, RemoteRefusal):
        code, status, title = error.remote_code, error.remote_status, error.remote_title
    return _Fault(
        code=code,
        status=status,
        title=title,
        detail=error.detail,
        next_step=error.next_step,
        is_transient=isinstance(error, TransientError),
    )
