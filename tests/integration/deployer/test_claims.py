"""Claims in real rows: who holds a job, until when, and what the word of a former holder is worth."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError

from stoker_deployer import MIGRATIONS
from stoker_deployer.jobs.errors import ClaimLost
from stoker_deployer.jobs.repository import URGENT, JobRepository, Release
from stoker_deployer.jobs.tables import Cancellation, Job
from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.pipeline.claims import Claim
from stoker_deployer.pipeline.repository import ClaimRepository
from stoker_shared.database import Database
from stoker_shared.identifiers import new_identifier
from stoker_shared.job_state import JobStatus
from tests.integration.deployer.world import launch_command
from tests.support.servers import MakeDatabase

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=30)


@dataclass
class Store:
    """The repositories on a database."""

    database: Database
    jobs: JobRepository
    claims: ClaimRepository

    async def add(self, *, due: datetime = NOW, status: JobStatus = JobStatus.QUEUED) -> Job:
        """A job that nobody holds."""
        command = launch_command(job_id=new_identifier("job"))
        job = Job(
            job_id=command.job_id,
            owner=command.owner,
            command=command.model_dump(mode="json"),
            budget_micro_usd=command.budget_micro_usd,
            max_attempts=1,
            max_duration_seconds=60,
            created_at=NOW,
            status=status.value,
            next_check_at=due if not status.is_terminal else None,
        )
        async with self.database.transaction() as session:
            assert await self.jobs.insert(session, job)
        return job

    async def claim(self, *, now: datetime = NOW, limit: int = 10) -> list[Claim]:
        """Claim what is due."""
        async with self.database.transaction() as session:
            return await self.claims.claim_due(session, now=now, limit=limit)

    async def load(self, claim: Claim) -> Job:
        """The row, for the holder."""
        async with self.database.transaction() as session:
            return (await self.jobs.load(session, claim.job_id, token=claim.token)).job

    async def release(self, claim: Claim, job: Job, *, now: datetime = NOW, after: float = 60) -> datetime:
        """End a claim."""
        later = now + timedelta(seconds=after)
        async with self.database.transaction() as session:
            return await self.jobs.release(session, job, token=claim.token, next_check_at=later, failures=0)


@pytest.fixture
async def store(migrated_database: MakeDatabase) -> AsyncIterator[Store]:
    """Migrated, empty."""
    database = await asyncio.to_thread(migrated_database, "deployer", MIGRATIONS)
    connected = Database(SecretStr(database.url("deployer")))
    yield Store(connected, JobRepository(LedgerRepository()), ClaimRepository(owner="one", lease=LEASE))
    await connected.close()


async def test_a_due_job_is_claimed_once_until_its_lease_runs_out(store: Store) -> None:
    job = await store.add()
    (first,) = await store.claim()
    assert first.job_id == job.job_id
    assert await store.claim(now=NOW + LEASE) == []
    (second,) = await store.claim(now=NOW + LEASE + timedelta(seconds=1))
    assert second.token != first.token


async def test_a_job_that_is_not_due_or_has_ended_is_not_claimed(store: Store) -> None:
    await store.add(due=NOW + timedelta(seconds=1))
    await store.add(status=JobStatus.COMPLETED)
    assert await store.claim() == []


async def test_claimers_at_the_same_moment_share_no_job(store: Store) -> None:
    jobs = {(await store.add()).job_id for _ in range(20)}
    taken = await asyncio.gather(*(store.claim(limit=5) for _ in range(6)))
    ids = [claim.job_id for claims in taken for claim in claims]
    assert len(ids) == len(set(ids))
    assert set(ids) <= jobs


async def test_the_word_of_a_former_holder_counts_nothing(store: Store) -> None:
    await store.add()
    (former,) = await store.claim()
    job = await store.load(former)
    (present,) = await store.claim(now=NOW + timedelta(minutes=1))
    with pytest.raises(ClaimLost):
        await store.load(former)
    with pytest.raises(ClaimLost):
        await store.release(former, job)
    with pytest.raises(ClaimLost):
        async with store.database.transaction() as session:
            await store.jobs.move(session, job, token=former.token, values={"status": "cancelled"})
    assert (await store.load(present)).status == JobStatus.QUEUED


async def test_a_job_that_moved_on_is_not_moved_from_where_it_was(store: Store) -> None:
    await store.add()
    (claim,) = await store.claim()
    believed = await store.load(claim)
    async with store.database.transaction() as session:
        await store.jobs.move(session, believed, token=claim.token, values={"status": "provisioning"})
    with pytest.raises(ClaimLost):
        async with store.database.transaction() as session:
            await store.jobs.move(session, believed, token=claim.token, values={"status": "cancelled"})
    assert (await store.load(claim)).status == JobStatus.PROVISIONING


async def test_leases_are_renewed_for_those_who_still_hold(store: Store) -> None:
    await store.add()
    (claim,) = await store.claim()
    stranger = uuid4()
    async with store.database.transaction() as session:
        alive = await store.claims.extend(session, [claim.token, stranger], now=NOW + timedelta(seconds=20))
    assert alive == {claim.token}
    assert await store.claim(now=NOW + timedelta(seconds=45)) == []


async def test_a_wake_during_a_claim_makes_the_job_due_at_its_release(store: Store) -> None:
    job = await store.add()
    (claim,) = await store.claim()
    seen = await store.load(claim)
    async with store.database.transaction() as session:
        await store.claims.wake(session, job.job_id)
    assert await store.release(claim, seen) == URGENT
    assert [again.job_id for again in await store.claim()] == [job.job_id]


async def test_a_job_that_was_woken_comes_before_those_that_are_long_due(store: Store) -> None:
    await store.add()
    woken = await store.add()
    async with store.database.transaction() as session:
        await store.claims.wake(session, woken.job_id)
    (first,) = await store.claim(limit=1)
    assert (first.job_id, first.is_urgent) == (woken.job_id, True)
    (second,) = await store.claim(limit=1)
    assert not second.is_urgent


async def test_a_round_releases_only_what_it_still_holds(store: Store) -> None:
    jobs = [await store.add(status=JobStatus.TRAINING) for _ in range(3)]
    claims = {claim.job_id: claim for claim in await store.claim()}
    later = NOW + timedelta(seconds=60)
    async with store.database.transaction() as session:
        seen = await store.jobs.load_all(session, [claim.token for claim in claims.values()])
        await store.claims.wake(session, jobs[2].job_id)
    assert {snapshot.job.job_id for snapshot in seen} == set(claims)
    tokens = {**{job.job_id: claims[job.job_id].token for job in jobs}, jobs[0].job_id: uuid4()}
    releases = [Release(job.job_id, tokens[job.job_id], job.status, 0, later) for job in jobs]
    async with store.database.transaction() as session:
        assert await store.jobs.release_all(session, releases) == {jobs[1].job_id, jobs[2].job_id}
    # One was woken meanwhile, one sleeps until it is due, one is held still.
    assert [again.job_id for again in await store.claim()] == [jobs[2].job_id]


async def test_without_a_wake_a_released_job_sleeps(store: Store) -> None:
    await store.add()
    (claim,) = await store.claim()
    due = await store.release(claim, await store.load(claim), after=60)
    assert due == NOW + timedelta(seconds=60)
    assert await store.claim() == []


async def test_an_ended_job_cannot_be_woken(store: Store) -> None:
    job = await store.add(status=JobStatus.FAILED)
    async with store.database.transaction() as session:
        await store.claims.wake(session, job.job_id)
    assert await store.claim() == []


async def test_what_is_given_back_after_a_failure_waits(store: Store) -> None:
    await store.add()
    (claim,) = await store.claim()
    async with store.database.transaction() as session:
        await store.claims.give_back(session, [claim], next_check_at=NOW + timedelta(seconds=5))
    assert await store.claim() == []
    (again,) = await store.claim(now=NOW + timedelta(seconds=5))
    assert (await store.load(again)).check_failures == 1


async def test_a_posting_is_made_once(store: Store) -> None:
    ledger, job_id = LedgerRepository(), new_identifier("job")
    first, second = Book(job_id, budget=100), Book(job_id, budget=100)
    for book in (first, second):
        book.reserve(1, amount=40, at=NOW)
    async with store.database.transaction() as session:
        await ledger.save(session, first)
    with pytest.raises(IntegrityError):
        async with store.database.transaction() as session:
            await ledger.save(session, second)
    async with store.database.transaction() as session:
        assert (await ledger.open_book(session, job_id, budget=100)).budget_left == 60


async def test_the_first_wish_to_cancel_counts(store: Store) -> None:
    job_id = new_identifier("job")
    async with store.database.transaction() as session:
        for name in ("first", "second"):
            wish = Cancellation(job_id=job_id, requested_by=name, why="", requested_at=NOW)
            await store.jobs.cancel(session, wish)
        kept = await store.jobs.cancellation(session, job_id)
    assert kept is not None
    assert kept.requested_by == "first"


async def test_old_wishes_for_jobs_that_never_came_are_forgotten(store: Store) -> None:
    job, nobody = await store.add(), new_identifier("job")
    async with store.database.transaction() as session:
        for job_id in (job.job_id, nobody):
            await store.jobs.cancel(session, Cancellation(job_id=job_id, requested_by="user", requested_at=NOW))
        await store.jobs.forget_cancellations(session, before=NOW + timedelta(seconds=1))
        assert await store.jobs.cancellation(session, nobody) is None
        assert await store.jobs.cancellation(session, job.job_id) is not None


def test_a_call_is_not_begun_when_the_lease_may_end_in_it() -> None:
    claim = Claim(job_id="job-00000000000000aa", token=uuid4(), expires_at=NOW + timedelta(seconds=10))
    claim.ensure(now=NOW, needs=timedelta(seconds=10))
    with pytest.raises(ClaimLost):
        claim.ensure(now=NOW, needs=timedelta(seconds=11))
    claim.is_lost = True
    with pytest.raises(ClaimLost):
        claim.ensure(now=NOW, needs=timedelta(0))
