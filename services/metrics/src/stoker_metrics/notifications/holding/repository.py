"""SQL of alerts that are held back. Every method runs in the caller's transaction, under the lock of the job's row."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# The types stand in the text, so that the planner sees that the index of alerts holds all that is asked for.
_COUNT_ONE = text("""
UPDATE notification_deliveries SET held_back = held_back + 1
WHERE target_id = :target_id AND job_id = :job_id AND type = 'job.alerts_held_back' AND held_until > :now
RETURNING delivery_id
""")
_TOLD = text("""
SELECT count(*) FROM notification_deliveries
WHERE target_id = :target_id AND job_id = :job_id AND type = 'job.alert' AND state <> 'late' AND created_at > :since
""")
_BEGIN = text("""
UPDATE notification_deliveries SET held_back = 1, held_until = :until WHERE delivery_id = :delivery_id
""")


class HoldRepository:
    """Counts what a target was told, and what not."""

    async def count_one(self, session: AsyncSession, *, target_id: str, job_id: str, now: datetime) -> bool:
        """Count one more with the delivery that says that alerts are held back. False: none says so at present."""
        values = {"target_id": target_id, "job_id": job_id, "now": now}
        return (await session.execute(_COUNT_ONE, values)).first() is not None

    async def told(self, session: AsyncSession, *, target_id: str, job_id: str, since: datetime) -> int:
        """How many alerts of a job a target has been given since then."""
        values = {"target_id": target_id, "job_id": job_id, "since": since}
        return int((await session.execute(_TOLD, values)).scalar_one())

    async def begin(self, session: AsyncSession, delivery_id: str, *, until: datetime) -> None:
        """This delivery says that alerts are held back until then; the one that it stands for is the first of them."""
        await session.execute(_BEGIN, {"delivery_id": delivery_id, "until": until})
