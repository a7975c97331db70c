"""Rounds: many jobs looked at together. Most are well, and all that changes is when they are looked at next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from stoker_deployer.jobs.accruing import accrue, is_accrual_due, lacks_cover
from stoker_deployer.jobs.reconcile import Reconciler
from stoker_deployer.jobs.repository import JobRepository, Release
from stoker_deployer.jobs.steps import Wait
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import View
from stoker_deployer.jobs.watching import Watcher
from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.pipeline.claims import Claim
from stoker_deployer.providers import Alive
from stoker_shared.database import Database


@dataclass(frozen=True, slots=True)
class _Calm:
    """A job that only waits. `book` holds a posting if what it has cost is to be noted."""

    claim: Claim
    view: View
    wait: Wait
    book: Book | None


class Rounds:
    """One read, one listing, one question to the metrics service and one write for all jobs of a round."""

    def __init__(
        self,
        database: Database,
        jobs: JobRepository,
        ledger: LedgerRepository,
        watcher: Watcher,
        reconciler: Reconciler,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._ledger = ledger
        self._watcher = watcher
        self._reconciler = reconciler

    async def run(self, claims: Sequence[Claim]) -> list[Claim]:
        """Look at all, release those that are well. Returns those that need a step of their own, with what was seen.

        Jobs in the queue are among them, unseen: they wait for each other, not for the world.

        Raises:
            ServiceUnavailable: PostgreSQL is away; nothing was released.
        """
        by_job = {claim.job_id: claim for claim in claims}
        async with self._database.transaction() as session:
            snapshots = await self._jobs.load_all(session, [claim.token for claim in claims])
        sights = await self._watcher.look_at_all(snapshots)
        calm: list[_Calm] = []
        seen = {snapshot.job.job_id for snapshot in snapshots}
        rest = [claim for claim in claims if claim.job_id not in seen]
        for snapshot, sight in zip(snapshots, sights, strict=True):
            claim, view = by_job[snapshot.job.job_id], self._reconciler.view(snapshot, sight=sight)
            found = _as_calm(claim, view)
            if found is None:
                claim.view = view
                rest.append(claim)
            else:
                calm.append(found)
        await self._release(calm)
        return rest

    async def _release(self, calm: Sequence[_Calm]) -> None:
        if not calm:
            return
        async with self._database.transaction() as session:
            released = await self._jobs.release_all(session, [_release(found) for found in calm])
            noted = [found for found in calm if found.book and found.claim.job_id in released]
            if noted:
                await self._jobs.note_accruals(session, [(found.view.attempt, found.view.now) for found in noted])
                await self._ledger.save_all(session, [found.book for found in noted if found.book])


def _as_calm(claim: Claim, view: View) -> _Calm | None:
    # Only a machine that lives and a plain pause: whatever is seen besides takes the way of a single job.
    if view.snapshot.attempt is None or not isinstance(view.sight.machine, Alive):
        return None
    step = next_step(view)
    if not isinstance(step, Wait) or step.after <= timedelta(0) or step.noted or step.has_failed:
        return None
    if not is_accrual_due(view):
        return _Calm(claim, view, step, None)
    if lacks_cover(view):
        return None
    # A copy: if the claim is lost meanwhile, the book as it was read has no postings.
    read = view.snapshot.book
    book = Book(read.job_id, budget=read.budget, balances=read.balances, levels=read.levels)
    accrue(book, view)
    return _Calm(claim, view, step, book)


def _release(found: _Calm) -> Release:
    job: Any = found.view.job
    return Release(
        job_id=job.job_id,
        token=found.claim.token,
        status=job.status,
        wakes=job.wakes,
        next_check_at=found.view.now + found.wait.after,
    )
