"""Diagnosing ends, and answering why."""

import asyncio
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.attempts.service import Attempts
from stoker_metrics.diagnosis.evidence import Known
from stoker_metrics.diagnosis.repository import DiagnosisRepository
from stoker_metrics.diagnosis.verdict import findings_of, last_errors, unknown
from stoker_metrics.storing.repository import StoringRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.events import JobCancelled, JobFailed, JobRequeued, PodDiagnosed
from stoker_shared.outbox import enqueue
from stoker_shared.rpc.diagnosis import Diagnosis, DiagnosisAnswer, DiagnosisQuery
from stoker_shared.rpc.metrics import ExitFacts, LossTrouble

End = JobRequeued | JobFailed | JobCancelled
"""The machine is gone when one of these is told, so the pod can say no more."""


class Diagnoser:
    """Reads an end's evidence, stores its diagnosis and tells it, once."""

    def __init__(self, database: Database, *, attempts: Attempts, clock: Clock) -> None:
        self._database = database
        self._attempts = attempts
        self._clock = clock
        self._rows = DiagnosisRepository()
        self._counters = StoringRepository()

    async def is_diagnosed(self, end: End) -> bool:
        """Whether this end has its diagnosis."""
        async with self._database.transaction() as session:
            return await self._rows.is_there(session, job_id=end.job_id, job_sequence=end.sequence)

    async def diagnose(self, end: End) -> bool:
        """Diagnose an end from what is stored now. False: it was diagnosed before.

        Raises:
            ServiceUnavailable: the database is away.
        """
        async with self._database.transaction() as session:
            known = await self._known(session, end)
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

    async def _known(self, session: AsyncSession, end: End) -> Known:
        row = await self._rows.report(session, job_id=end.job_id, attempt=end.attempt)
        exit_facts = row.exit_facts if row else None
        trouble = row.loss_trouble if row else None
        return Known(
            reason=end.reason,
            detail=end.detail,
            exit=ExitFacts.model_validate(exit_facts) if exit_facts else None,
            loss_trouble=LossTrouble.model_validate(trouble) if trouble else None,
            alerts=await self._rows.alerts(session, job_id=end.job_id, attempt=end.attempt),
            lines=await self._rows.lines(session, job_id=end.job_id, attempt=end.attempt),
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
