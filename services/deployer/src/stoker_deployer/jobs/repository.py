"""SQL of jobs, attempts and cancellations. Every method runs in the caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Update, and_, case, literal, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_deployer.jobs.errors import ClaimLost
from stoker_deployer.jobs.tables import Attempt, Cancellation, Job, Table
from stoker_deployer.jobs.view import Snapshot
from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.retrying.repository import CooldownRepository
from stoker_shared.database import UtcColumn
from stoker_shared.job_state import JobStatus

_FORGET_CANCELLATIONS = text("""
DELETE FROM cancellations c WHERE requested_at < :before AND NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = c.job_id)
""")
# Built once and run on plain tables: building a statement costs more than running it.
_TABLES = Table.metadata.tables
_JOBS, _ATTEMPTS = _TABLES["jobs"], _TABLES["attempts"]
_INSERT_JOB = insert(_JOBS).on_conflict_do_nothing().returning(_JOBS.c.job_id)
_INSERT_ATTEMPT = insert(_ATTEMPTS)
_INSERT_CANCELLATION = insert(_TABLES["cancellations"]).on_conflict_do_nothing()


class JobRepository:
    """Reads and writes the rows."""

    def __init__(self, ledger: LedgerRepository) -> None:
        self._ledger = ledger
        self.cooldowns = CooldownRepository()

    async def insert(self, session: AsyncSession, job: Job) -> bool:
        """Store a new job. False if it is known already."""
        return (await session.execute(_INSERT_JOB, params=job.model_dump())).first() is not None

    async def load(self, session: AsyncSession, job_id: str, *, token: UUID) -> Snapshot:
        """A job as it stands, for the holder of its claim.

        Raises:
            ClaimLost: somebody else holds it now.
        """
        found = await session.execute(
            select(Job, Cancellation)
            .join(Cancellation, col(Cancellation.job_id) == col(Job.job_id), isouter=True)
            .where(col(Job.job_id) == job_id, col(Job.lock_token) == token)
        )
        row = found.first()
        if row is None:
            raise ClaimLost(job_id)
        job, cancellation = row
        of_job = select(Attempt).where(col(Attempt.job_id) == job_id).order_by(col(Attempt.number))
        attempts = (await session.scalars(of_job)).all()
        return Snapshot(
            job=job,
            attempt=next((attempt for attempt in attempts if attempt.number == job.attempt), None),
            cancellation=cancellation,
            book=await self.open_book(session, job),
            ran_before=sum((_ran(attempt) for attempt in attempts if attempt.number < job.attempt), timedelta()),
            earlier=tuple(attempt for attempt in attempts if attempt.number < job.attempt),
            cooldowns=await self.cooldowns.known(session) if job.state == JobStatus.QUEUED else {},
        )

    async def open_book(self, session: AsyncSession, job: Job) -> Book:
        """The job's book under the budgets above it."""
        levels = await self._ledger.levels(
            session, owner=job.owner, project=job.project_name, is_waiting=job.state == JobStatus.QUEUED
        )
        return await self._ledger.open_book(session, job.job_id, budget=job.budget_micro_usd, levels=levels)

    async def move(self, session: AsyncSession, job: Job, *, token: UUID, values: Mapping[str, Any]) -> None:
        """Change a job, if it is still what the caller believes it is.

        Raises:
            ClaimLost: it is not; nothing was changed.
        """
        statement = _guarded(job, token).values(**values).returning(_JOBS.c.job_id)
        if (await session.execute(statement)).first() is None:
            raise ClaimLost(job.job_id)

    async def release(  # noqa: PLR0913 - a claim's end has this many parts
        self,
        session: AsyncSession,
        job: Job,
        *,
        token: UUID,
        now: datetime,
        next_check_at: datetime,
        failures: int,
        noted: Mapping[str, Any] | None = None,
    ) -> datetime:
        """End a claim. Returns when the job is due: at once if somebody woke it in the meantime.

        `noted` are further columns of the job.

        Raises:
            ClaimLost: the claim had ended before.
        """
        due = case((_JOBS.c.wakes > job.wakes, literal(now, UtcColumn)), else_=literal(next_check_at, UtcColumn))
        unlocked = {"lock_token": None, "lock_owner": None, "lock_expires_at": None, "check_failures": failures}
        values = {**unlocked, **(noted or {})}
        statement = _guarded(job, token).values(**values, next_check_at=due).returning(_JOBS.c.next_check_at)
        row = (await session.execute(statement)).first()
        if row is None:
            raise ClaimLost(job.job_id)
        released: datetime = row[0]
        return released

    async def add_attempt(self, session: AsyncSession, attempt: Attempt) -> None:
        """Store an intent."""
        await session.execute(_INSERT_ATTEMPT, params=attempt.model_dump())

    async def note(self, session: AsyncSession, attempt: Attempt, values: Mapping[str, Any]) -> None:
        """Change an attempt. Call it after `move` or `release` in the same transaction, which check the claim."""
        if not values:
            return
        is_it = and_(_ATTEMPTS.c.job_id == attempt.job_id, _ATTEMPTS.c.number == attempt.number)
        await session.execute(update(_ATTEMPTS).where(is_it).values(**values))

    async def cancel(self, session: AsyncSession, cancellation: Cancellation) -> None:
        """Keep a user's wish; the first one counts."""
        await session.execute(_INSERT_CANCELLATION, params=cancellation.model_dump())

    async def cancellation(self, session: AsyncSession, job_id: str) -> Cancellation | None:
        """The user's wish to end this job, if there is one."""
        return (await session.scalars(select(Cancellation).where(col(Cancellation.job_id) == job_id))).first()

    async def forget_cancellations(self, session: AsyncSession, *, before: datetime) -> None:
        """Drop wishes for jobs that never came."""
        await session.execute(_FORGET_CANCELLATIONS, params={"before": before})

    async def budget_of(self, session: AsyncSession, job_id: str) -> int | None:
        """What a job may cost; None for an unknown one."""
        return (await session.scalars(select(col(Job.budget_micro_usd)).where(col(Job.job_id) == job_id))).first()

    async def attempts_by_machine(self, session: AsyncSession, names: Sequence[str]) -> dict[str, Attempt]:
        """The attempts that machines of these names belong to."""
        rows = await session.scalars(select(Attempt).where(col(Attempt.machine_name).in_(names)))
        return {attempt.machine_name: attempt for attempt in rows}

    async def attempt_for(
        self, session: AsyncSession, *, owner: str, job_id: str, number: int | None
    ) -> tuple[Job, Attempt | None] | None:
        """An owner's job with one attempt, the latest if `number` is None."""
        job = (await session.scalars(select(Job).where(col(Job.job_id) == job_id, col(Job.owner) == owner))).first()
        if job is None:
            return None
        wanted = job.attempt if number is None else number
        statement = select(Attempt).where(col(Attempt.job_id) == job_id, col(Attempt.number) == wanted)
        return job, (await session.scalars(statement)).first()


def _guarded(job: Job, token: UUID) -> Update:
    is_as_believed = and_(_JOBS.c.job_id == job.job_id, _JOBS.c.lock_token == token, _JOBS.c.status == job.status)
    return update(_JOBS).where(is_as_believed)


def _ran(attempt: Attempt) -> timedelta:
    if attempt.billing_started_at is None or attempt.billing_ended_at is None:
        return timedelta()
    return max(attempt.billing_ended_at - attempt.billing_started_at, timedelta())
