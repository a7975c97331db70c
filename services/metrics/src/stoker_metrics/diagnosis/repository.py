"""SQL of diagnoses, and of what the pod last said. In the caller's transaction."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.attempts.tables import AttemptReportRow
from stoker_shared.rpc.diagnosis import Diagnosis

_ADD = text("""
INSERT INTO diagnoses (job_id, job_sequence, attempt, at, cause, diagnosis)
VALUES (:job_id, :job_sequence, :attempt, :at, :cause, CAST(:diagnosis AS jsonb))
ON CONFLICT DO NOTHING RETURNING job_id
""")
_IS_THERE = text("SELECT 1 FROM diagnoses WHERE job_id = :job_id AND job_sequence = :job_sequence")
_NEWEST = text("""
SELECT diagnosis FROM diagnoses
WHERE job_id = :job_id AND (CAST(:attempt AS int) IS NULL OR attempt = :attempt)
ORDER BY job_sequence DESC LIMIT 1
""")


class DiagnosisRepository:
    """Diagnoses, and what the pod last said."""

    async def report(self, session: AsyncSession, *, job_id: str, attempt: int) -> AttemptReportRow | None:
        """What the pod last said."""
        return await session.get(AttemptReportRow, (job_id, attempt))

    async def is_there(self, session: AsyncSession, *, job_id: str, job_sequence: int) -> bool:
        """Whether this end was diagnosed."""
        values = {"job_id": job_id, "job_sequence": job_sequence}
        return (await session.execute(_IS_THERE, values)).first() is not None

    async def add(self, session: AsyncSession, diagnosis: Diagnosis) -> bool:
        """Store a diagnosis. False: this end has one."""
        values = {
            "job_id": diagnosis.job_id,
            "job_sequence": diagnosis.job_sequence,
            "attempt": diagnosis.attempt,
            "at": diagnosis.at,
            "cause": diagnosis.verdict.cause,
            "diagnosis": diagnosis.model_dump_json(),
        }
        return (await session.execute(_ADD, values)).first() is not None

    async def newest(self, session: AsyncSession, *, job_id: str, attempt: int | None) -> Diagnosis | None:
        """The newest diagnosis of a job, or of one attempt."""
        row = (await session.execute(_NEWEST, {"job_id": job_id, "attempt": attempt})).scalar()
        return None if row is None else Diagnosis.model_validate(row)
