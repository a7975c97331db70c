"""SQL of claims. A lease is stored in the row that it protects; each write checks the token."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.jobs.repository import URGENT
from stoker_deployer.pipeline.claims import Claim

_CLAIM_DUE = text("""
UPDATE jobs SET lock_token = gen_random_uuid(), lock_owner = :owner, lock_expires_at = :until
WHERE job_id IN (
    SELECT job_id FROM jobs
    WHERE next_check_at <= :now AND (lock_expires_at IS NULL OR lock_expires_at < :now)
    ORDER BY next_check_at, job_id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED)
RETURNING job_id, lock_token, next_check_at
""")
_EXTEND = text("""
UPDATE jobs SET lock_expires_at = :until WHERE lock_token = ANY(CAST(:tokens AS uuid[])) RETURNING lock_token
""")
_GIVE_BACK = text("""
UPDATE jobs
SET lock_token = NULL, lock_owner = NULL, lock_expires_at = NULL, check_failures = check_failures + 1,
    next_check_at = CASE WHEN next_check_at IS NULL THEN NULL ELSE CAST(:next_check_at AS timestamptz) END
WHERE lock_token = ANY(CAST(:tokens AS uuid[]))
""")
_COUNT_LIVE = text("SELECT count(*) FROM jobs WHERE next_check_at IS NOT NULL")
_WAKE = text("""
UPDATE jobs SET wakes = wakes + 1, next_check_at = :urgent WHERE job_id = :job_id AND next_check_at IS NOT NULL
""")


class ClaimRepository:
    """Claims of one process, whose name is `owner`. Every method runs in the caller's transaction."""

    def __init__(self, *, owner: str, lease: timedelta) -> None:
        self.owner = owner
        self.lease = lease

    def new_claim(self, job_id: str, *, now: datetime) -> Claim:
        """A claim for a row that is about to be inserted."""
        return Claim(job_id=job_id, token=uuid4(), expires_at=now + self.lease)

    async def claim_due(self, session: AsyncSession, *, now: datetime, limit: int) -> list[Claim]:
        """Take up to `limit` jobs that are due and that nobody holds; those that were woken, then the longest due."""
        until = now + self.lease
        rows = await session.execute(
            _CLAIM_DUE, params={"owner": self.owner, "until": until, "now": now, "limit": limit}
        )
        # RETURNING has no order of its own: it changes with the plan that PostgreSQL happens to choose.
        taken = sorted(rows, key=lambda row: (row.next_check_at, row.job_id))
        return [
            Claim(row.job_id, row.lock_token, expires_at=until, is_urgent=row.next_check_at <= URGENT) for row in taken
        ]

    async def count_live(self, session: AsyncSession) -> int:
        """How many jobs are looked after by all replicas."""
        return int((await session.execute(_COUNT_LIVE)).scalar_one())

    async def extend(self, session: AsyncSession, tokens: list[UUID], *, now: datetime) -> set[UUID]:
        """Renew leases. Returns the tokens that still hold."""
        rows = await session.execute(_EXTEND, params={"until": now + self.lease, "tokens": tokens})
        return {row.lock_token for row in rows}

    async def give_back(self, session: AsyncSession, claims: Sequence[Claim], *, next_check_at: datetime) -> None:
        """Release after a failure, to be looked at later."""
        values = {"tokens": [claim.token for claim in claims], "next_check_at": next_check_at}
        await session.execute(_GIVE_BACK, params=values)

    async def wake(self, session: AsyncSession, job_id: str) -> None:
        """Have a job looked at before all that nobody woke. If it is being looked at, once more after that.

        Ended jobs sleep on.
        """
        await session.execute(_WAKE, params={"job_id": job_id, "urgent": URGENT})
