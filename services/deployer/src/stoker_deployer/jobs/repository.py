"""SQL of jobs, attempts and cancellations. Every method runs in the caller's transaction."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, Update, Uuid, and_, any_, case, literal, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_deployer.jobs.errors import ClaimLost
from stoker_deployer.jobs.tables import Attempt, Cancellation, Job, Table
from stoker_deployer.jobs.view import Snapshot
from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.retrying.repository import CooldownRepository
from stoker_deployer.vault.repository import SecretRepository
from stoker_shared.database import UtcColumn
from stoker_shared.job_state import JobStatus

# When a job that was woken is due: before all that are only due by the clock, however many those are.
URGENT = datetime(1970, 1, 1, tzinfo=UTC)
_RELEASE_ALL = text("""
UPDATE jobs SET lock_token = NULL, lock_owner = NULL, lock_expires_at = NULL, check_failures = 0,
    next_check_at = CASE WHEN jobs.wakes > held.wakes THEN :urgent ELSE held.next_check_at END
FROM unnest(CAST(:job_ids AS text[]), CAST(:tokens AS uuid[]), CAST(:statuses AS text[]), CAST(:wakes AS integer[]),
            CAST(:due AS timestamptz[])) AS held (job_id, token, status, wakes, next_check_at)
WHERE jobs.job_id = held.job_id AND jobs.lock_token = held.token AND jobs.status = held.status
RETURNING jobs.job_id
""")
_NOTE_ACCRUALS = text("""
UPDATE attempts SET accrued_at = noted.at
FROM unnest(CAST(:job_ids AS text[]), CAST(:numbers AS integer[]), CAST(:at AS timestamptz[]))
    AS noted (job_id, number, at)
WHERE attempts.job_id = noted.job_id AND attempts.number = noted.number
""")
# A claim's holder writes the sequence that it has read: nobody else may count while a job is claimed.
_COUNT_EVENT = text("""
UPDATE jobs SET sequence = sequence + 1 WHERE job_id = :job_id AND lock_token IS NULL RETURNING job_id
""")
_FORGET_CANCELLATIONS = text("""
DELETE FROM cancellations c WHERE requested_at < :before AND NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = c.job_id)
""")
_ADD_ORPHAN_COST = text("""
UPDATE attempts SET orphans_micro_usd = orphans_micro_usd + :amount WHERE job_id = :job_id AND number = :number
""")
# Built once and run on plain tables: building a statement costs more than running it.
_TABLES = Table.metadata.tables
_JOBS, _ATTEMPTS = _TABLES["jobs"], _TABLES["attempts"]
_INSERT_JOB = insert(_JOBS).on_conflict_do_nothing().returning(_JOBS.c.job_id)
_INSERT_ATTEMPT = insert(_ATTEMPTS)
_INSERT_CANCELLATION = insert(_TABLES["cancellations"]).on_conflict_do_nothing()


@dataclass(frozen=True, slots=True)
class Release:
    """The end of a claim under which nothing changed: valid if the job still has this token and status."""

    job_id: str
    token: UUID
    status: str
    wakes: int
    next_check_at: datetime


class JobRepository:
    """Reads and writes the rows."""

    def __init__(self, ledger: LedgerRepository) -> None:
        self._ledger = ledger
        self.cooldowns = CooldownRepository()
        self.secrets = SecretRepository()

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
        snapshot = _snapshot(job, cancellation, attempts, await self.open_book(session, job))
        if job.state != JobStatus.QUEUED:
            return snapshot
        keys = await self.secrets.current(session, job.owner)
        return replace(snapshot, cooldowns=await self.cooldowns.known(session), keys=keys)

    async def load_all(self, session: AsyncSession, tokens: Sequence[UUID]) -> list[Snapshot]:
        """The jobs still held under these tokens, in that order, without those in the queue, which `load` reads."""
        found = await session.execute(
            select(Job, Cancellation)
            .join(Cancellation, col(Cancellation.job_id) == col(Job.job_id), isouter=True)
            .where(col(Job.lock_token) == any_(literal(list(tokens), ARRAY(Uuid))))
            .where(col(Job.status) != JobStatus.QUEUED.value)
        )
        places: dict[UUID | None, int] = {token: place for place, token in enumerate(tokens)}
        rows = sorted(found.all(), key=lambda row: places[row[0].lock_token])
        job_ids = [job.job_id for job, _ in rows]
        attempts: dict[str, list[Attempt]] = defaultdict(list)
        tried = select(Attempt).where(col(Attempt.job_id) == any_(literal(job_ids, ARRAY(Text))))
        for attempt in await session.scalars(tried.order_by(col(Attempt.number))):
            attempts[attempt.job_id].append(attempt)
        books = await self._ledger.open_books(session, [job for job, _ in rows])
        return [_snapshot(job, wish, attempts[job.job_id], books[job.job_id]) for job, wish in rows]

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

    async def release(
        self,
        session: AsyncSession,
        job: Job,
        *,
        token: UUID,
        next_check_at: datetime,
        failures: int,
        noted: Mapping[str, Any] | None = None,
    ) -> datetime:
        """End a claim. Returns when the job is due: at once if somebody woke it in the meantime.

        `noted` are further columns of the job.

        Raises:
            ClaimLost: the claim had ended before.
        """
        due = case((_JOBS.c.wakes > job.wakes, literal(URGENT, UtcColumn)), else_=literal(next_check_at, UtcColumn))
        unlocked = {"lock_token": None, "lock_owner": None, "lock_expires_at": None, "check_failures": failures}
        values = {**unlocked, **(noted or {})}
        statement = _guarded(job, token).values(**values, next_check_at=due).returning(_JOBS.c.next_check_at)
        row = (await session.execute(statement)).first()
        if row is None:
            raise ClaimLost(job.job_id)
        released: datetime = row[0]
        return released

    async def release_all(self, session: AsyncSession, releases: Sequence[Release]) -> set[str]:
        """End claims that led to nothing. Returns the jobs of those that still held."""
        values = {
            "urgent": URGENT,
            "job_ids": [release.job_id for release in releases],
            "tokens": [release.token for release in releases],
            "statuses": [release.status for release in releases],
            "wakes": [release.wakes for release in releases],
            "due": [release.next_check_at for release in releases],
        }
        return set((await session.execute(_RELEASE_ALL, params=values)).scalars())

    async def note_accruals(self, session: AsyncSession, noted: Sequence[tuple[Attempt, datetime]]) -> None:
        """Up to when the cost of attempts is in the ledger. Call it after `release_all`, which checks the claims."""
        values = {
            "job_ids": [attempt.job_id for attempt, _ in noted],
            "numbers": [attempt.number for attempt, _ in noted],
            "at": [at for _, at in noted],
        }
        await session.execute(_NOTE_ACCRUALS, params=values)

    async def add_attempt(self, session: AsyncSession, attempt: Attempt) -> None:
        """Store an intent."""
        await session.execute(_INSERT_ATTEMPT, params=attempt.model_dump())

    async def note(self, session: AsyncSession, attempt: Attempt, values: Mapping[str, Any]) -> None:
        """Change an attempt. Call it after `move` or `release` in the same transaction, which check the claim."""
        if not values:
            return
        is_it = and_(_ATTEMPTS.c.job_id == attempt.job_id, _ATTEMPTS.c.number == attempt.number)
        await session.execute(update(_ATTEMPTS).where(is_it).values(**values))

    async def count_event(self, session: AsyncSession, job_id: str) -> tuple[Job, Attempt | None]:
        """The job with its next sequence taken, and its present attempt.

        Raises:
            ClaimLost: somebody works on the job now.
        """
        if (await session.execute(_COUNT_EVENT, params={"job_id": job_id})).first() is None:
            raise ClaimLost(job_id)
        job = (await session.scalars(select(Job).where(col(Job.job_id) == job_id))).one()
        present = select(Attempt).where(col(Attempt.job_id) == job_id, col(Attempt.number) == job.attempt)
        return job, (await session.scalars(present)).first()

    async def add_orphan_cost(self, session: AsyncSession, attempt: Attempt, *, amount: int) -> None:
        """A machine of the attempt's name that is not its own has cost so much more."""
        values = {"job_id": attempt.job_id, "number": attempt.number, "amount": amount}
        await session.execute(_ADD_ORPHAN_COST, params=values)

    async def cancel(self, session: AsyncSession, cancellation: Cancellation) -> None:
        """Keep a user's wish; the first one counts."""
        await session.execute(_INSERT_CANCELLATION, params=cancellation.model_dump())

    async def cancellation(self, session: AsyncSession, job_id: str) -> Cancellation | None:
        """The user's wish to end this job, if there is one."""
        return (await session.scalars(select(Cancellation).where(col(Cancellation.job_id) == job_id))).first()

    async def forget_cancellations(self, session: AsyncSession, *, before: datetime) -> None:
        """Drop wishes for jobs that never came."""
        await session.execute(_FORGET_CANCELLATIONS, params={"before": before})

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


def _snapshot(job: Job, cancellation: Cancellation | None, attempts: Sequence[Attempt], book: Book) -> Snapshot:
    return Snapshot(
        job=job,
        attempt=next((attempt for attempt in attempts if attempt.number == job.attempt), None),
        cancellation=cancellation,
        book=book,
        ran_before=sum((_ran(attempt) for attempt in attempts if attempt.number < job.attempt), timedelta()),
        earlier=tuple(attempt for attempt in attempts if attempt.number < job.attempt),
    )


def _guarded(job: Job, token: UUID) -> Update:
    is_as_believed = and_(_JOBS.c.job_id == job.job_id, _JOBS.c.lock_token == token, _JOBS.c.status == job.status)
    return update(_JOBS).where(is_as_believed)


def _ran(attempt: Attempt) -> timedelta:
    if attempt.billing_started_at is None or attempt.billing_ended_at is None:
        return timedelta()
    return max(attempt.billing_ended_at - attempt.billing_started_at, timedelta())
