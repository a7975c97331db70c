"""Taking a report: whose is it, is it well formed, is it safe, what is its pod to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request

from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.attempts.tokens import JobTokens
from stoker_metrics.errors import BodyTooLarge, JobTokenRefused, TooManyItems, TooManyReports
from stoker_metrics.reports.reading import parse_report, read_body
from stoker_metrics.reports.schemas import Report, Taken
from stoker_metrics.reports.telemetry import Kind, message_id
from stoker_shared import subjects
from stoker_shared.bus import JetStreamPublisher
from stoker_shared.clock import Clock
from stoker_shared.errors import TransientError
from stoker_shared.trace import TRACEPARENT_HEADER, silent_job_traceparent
from stoker_shared.web import bearer_token

# Below the broker's 1 MB, with room for headers.
MAX_MESSAGE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """How much is taken at once."""

    body_bytes: int
    items: int
    in_flight: int


class Intake:
    """Takes reports of all kinds."""

    def __init__(
        self,
        publisher: JetStreamPublisher,
        *,
        tokens: JobTokens,
        hearing: Hearing,
        clock: Clock,
        limits: IntakeLimits,
    ) -> None:
        self._publisher = publisher
        self._tokens = tokens
        self._hearing = hearing
        self._clock = clock
        self._limits = limits
        self._in_flight = 0

    async def take(self, kind: Kind, *, job_id: str, request: Request) -> Taken:
        """Take a report. It is on the broker's disk when this returns.

        Raises:
            JobTokenRefused: the token does not open this job and attempt.
            BodyTooLarge, TooManyItems: half of it may be sent.
            RequestInvalid: names the fields.
            TooManyReports: too much at once.
            TransientError: broker or database are away; sent again, the report counts once.
        """
        async with self._place():
            facts = await self._tokens.attempt_of(bearer_token(request), job_id=job_id)
            report = await self._read(kind, request)
            if report.attempt != facts.attempt:
                raise JobTokenRefused
            await self._make_durable(kind, job_id=facts.job_id, report=report)
            return Taken(accepted=len(kind.list_of(report)), control=facts.control)

    async def _read(self, kind: Kind, request: Request) -> Report:
        body = await read_body(request, limit=self._limits.body_bytes)
        report = parse_report(kind.report, body)
        count = len(kind.list_of(report))
        if kind.items and count > self._limits.items:
            raise TooManyItems(kind.items, count=count, limit=self._limits.items)
        return report

    async def _make_durable(self, kind: Kind, *, job_id: str, report: Report) -> None:
        payload = kind.message(job_id, report, self._clock.now()).model_dump_json().encode()
        if len(payload) > MAX_MESSAGE_BYTES:
            raise BodyTooLarge(self._limits.body_bytes)
        await self._publisher.publish(
            subjects.telemetry(job_id, kind.name),
            payload,
            message_id=message_id(kind, job_id=job_id, report=report),
            headers={TRACEPARENT_HEADER: silent_job_traceparent(job_id)},
        )

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._in_flight >= self._limits.in_flight:
            self._hearing.failed()
            raise TooManyReports(self._limits.in_flight)
        self._in_flight += 1
        try:
            yield
        except TransientError:
            self._hearing.failed()
            raise
        finally:
            self._in_flight -= 1
