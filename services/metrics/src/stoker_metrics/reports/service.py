"""Taking a report: whose is it, is it well formed, is it safe, what is its pod to do."""

from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request

from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.attempts.tokens import JobTokens
from stoker_metrics.errors import BodyTooLarge, BrokerSlow, JobTokenRefused, TooManyReports
from stoker_metrics.reports.preparing import Prepared, prepare
from stoker_metrics.reports.reading import read_body
from stoker_metrics.reports.telemetry import Kind
from stoker_shared import subjects
from stoker_shared.bus import GroupingPublisher
from stoker_shared.clock import Clock
from stoker_shared.errors import TransientError
from stoker_shared.logging import get_logger
from stoker_shared.rpc.metrics import Control
from stoker_shared.trace import TRACEPARENT_HEADER, silent_job_traceparent
from stoker_shared.web import bearer_token

logger = get_logger(__name__)

# Below the broker's 1 MB, with room for headers.
MAX_MESSAGE_BYTES = 1_000_000
_MOST_CLOCKS_TOLD = 10_000


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """How much is taken at once."""

    body_bytes: int
    items: int
    in_flight: int
    broker_slow_after: timedelta


@dataclass(frozen=True, slots=True)
class TakenReport:
    """`accepted`: points, lines or the one report, those sent before included."""

    accepted: int
    control: Control


class Intake:
    """Takes reports of all kinds."""

    def __init__(
        self,
        publisher: GroupingPublisher,
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
        self._clocks_told: set[tuple[str, int]] = set()

    async def take(self, kind: Kind, *, job_id: str, request: Request) -> TakenReport:
        """Take a report. It is on the broker's disk when this returns.

        Raises:
            JobTokenRefused: the token does not open this job and attempt.
            BodyTooLarge, TooManyItems: half of it may be sent.
            RequestInvalid: names the fields.
            EncodingUnsupported: neither plain nor gzip.
            TooManyReports, BrokerSlow: too much at once.
            TransientError: broker or database are away; sent again, the report counts once.
        """
        self._refuse_under_pressure()
        self._in_flight += 1
        try:
            facts = await self._tokens.attempt_of(bearer_token(request), job_id=job_id)
            body = await read_body(request, limit=self._limits.body_bytes)
            report = prepare(kind, body, job_id=facts.job_id, now=self._clock.now(), most_items=self._limits.items)
            if report.attempt != facts.attempt:
                raise JobTokenRefused
            self._note_clock(facts.job_id, report)
            await self._make_durable(kind, job_id=facts.job_id, report=report)
            return TakenReport(report.count, facts.control)
        except TransientError:
            self._hearing.failed()
            raise
        finally:
            self._in_flight -= 1

    async def _make_durable(self, kind: Kind, *, job_id: str, report: Prepared) -> None:
        if len(report.payload) > MAX_MESSAGE_BYTES:
            raise BodyTooLarge(self._limits.body_bytes)
        await self._publisher.publish(
            subjects.telemetry(job_id, kind.name),
            report.payload,
            message_id=report.message_id,
            headers={TRACEPARENT_HEADER: silent_job_traceparent(job_id)},
        )

    def _note_clock(self, job_id: str, report: Prepared) -> None:
        attempt = (job_id, report.attempt)
        if not report.clock_shift_seconds or attempt in self._clocks_told:
            return
        if len(self._clocks_told) >= _MOST_CLOCKS_TOLD:
            self._clocks_told.clear()
        self._clocks_told.add(attempt)
        logger.warning(
            "the clock of a machine is wrong; its times are shifted",
            job_id=job_id,
            attempt=report.attempt,
            seconds=report.clock_shift_seconds,
        )

    def _refuse_under_pressure(self) -> None:
        if self._in_flight >= self._limits.in_flight:
            self._hearing.failed()
            raise TooManyReports(self._limits.in_flight)
        if (waiting := self._publisher.longest_wait) > self._limits.broker_slow_after:
            self._hearing.failed()
            raise BrokerSlow(waiting)
