"""Diagnosing ends, and answering why."""

import asyncio
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.alerts.repository import AlertRepository
from stoker_metrics.attempts.service import Attempts
from stoker_metrics.diagnosis.evidence import Known
from stoker_metrics.diagnosis.repository import DiagnosisRepository
from stoker_metrics.diagnosis.verdict import findings_of, last_errors, unknown
from stoker_metrics.errors import ChunkDamaged, ObjectGone
from stoker_metrics.keeping.repository import KeptRepository
from stoker_metrics.lines.pages import LinePages
from stoker_metrics.storing.repository import StoringRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.events import JobCancelled, JobFailed, JobRequeued, PodDiagnosed
from stoker_shared.logging import get_logger
from stoker_shared.outbox import enqueue
from stoker_shared.rpc.diagnosis import Diagnosis, DiagnosisAnswer, DiagnosisQuery
from stoker_shared.rpc.metrics import ExitFacts, Line, LossTrouble

logger = get_logger(__name__)

MOST_LINES = 3000
"""The last of an attempt. Who fails says so at the end; what floods the log is mostly the same line."""
_MOST_CHARACTERS = 1000
_MOST_ALERTS = 100

End = JobRequeued | JobFailed | JobCancelled
"""The machine is gone when one of these is told, so the pod can say no more."""


class Diagnoser:
    """Reads an end's evidence, stores its diagnosis and tells it, once."""

    def __init__(self, database: Database, *, pages: LinePages, attempts: Attempts, clock: Clock) -> None:
        self._database = database
        self._pages = pages
        self._kept = KeptRepository()
        self._attempts = attempts
        self._clock = clock
        self._rows = DiagnosisRepository()
        self._alerts = AlertRepository()
        self._counters = StoringRepository()

    async def is_diagnosed(self, end: End) -> bool:
        """Whether this end has its diagnosis."""
        async with self._database.transaction() as session:
            return await self._rows.is_there(session, job_id=end.job_id, job_sequence=end.sequence)

    async def diagnose(self, end: End) -> bool:
        """Diagnose an end from what is stored now. False: it was diagnosed before.

        Raises:
            ServiceUnavailable: the database is away, or the store where lines are packed.
        """
        lines = await self._last_lines(end)
        async with self._database.transaction() as session:
            known = await self._known(session, end, lines)
        diagnosis = await asyncio.to_thread(self._diagnosis, end, known)
        async with self._database.transaction() as session:
            if not await self._rows.add(session, diagnosis):
                return False
            await enqueue(session, await self._event(session, diagnosis))
        return True

    async def answer(self, query: DiagnosisQuery) -> DiagnosisAnswer:
        """Why the newest end, or that of an attempt, came.

        Raises:
            NotFound: the job is somebody else's.
        """
        await self._attempts.check_owner(job_id=query.job_id, owner=query.owner)
        async with self._database.transaction() as session:
            found = await self._rows.newest(session, job_id=query.job_id, attempt=query.attempt)
        return DiagnosisAnswer(diagnosis=found)

    async def _last_lines(self, end: End) -> list[Line]:
        """What the pod printed last; some of it may be packed already."""
        async with self._database.transaction() as session:
            kept = await self._kept.with_lines(session, job_id=end.job_id, attempt=end.attempt)
        if kept is None:
            return []
        try:
            lines = await self._pages.last(kept, count=MOST_LINES)
        except (ObjectGone, ChunkDamaged) as error:
            # They will not come back: a diagnosis from what else is known is better than none.
            logger.warning("diagnosed without lines", job_id=end.job_id, attempt=end.attempt, reason=error.detail)
            return []
        return [line.model_copy(update={"text": line.text[:_MOST_CHARACTERS]}) for line in lines]

    async def _known(self, session: AsyncSession, end: End, lines: list[Line]) -> Known:
        row = await self._rows.report(session, job_id=end.job_id, attempt=end.attempt)
        exit_facts = row.exit_facts if row else None
        trouble = row.loss_trouble if row else None
        return Known(
            reason=end.reason,
            detail=end.detail,
            exit=ExitFacts.model_validate(exit_facts) if exit_facts else None,
            loss_trouble=LossTrouble.model_validate(trouble) if trouble else None,
            alerts=await self._alerts.newest(session, (end.job_id, end.attempt), limit=_MOST_ALERTS),
            lines=lines,
        )

    def _diagnosis(self, end: End, known: Known) -> Diagnosis:
        findings = findings_of(known)
        return Diagnosis(
            job_id=end.job_id,
            attempt=end.attempt,
            job_sequence=end.sequence,
            at=self._clock.now(),
            reason=end.reason,
            findings=findings or [unknown(known)],
            last_errors=[] if findings else last_errors(known),
        )

    async def _event(self, session: AsyncSession, diagnosis: Diagnosis) -> PodDiagnosed:
        verdict, *others = diagnosis.findings
        return PodDiagnosed(
            event_id=uuid4(),
            occurred_at=self._clock.now(),
            sequence=await self._counters.next_sequence(session, job_id=diagnosis.job_id),
            job_id=diagnosis.job_id,
            attempt=diagnosis.attempt,
            reason=diagnosis.reason,
            cause=verdict.cause,
            confidence=verdict.confidence,
            summary=verdict.summary,
            other_causes=[finding.cause for finding in others],
        )
