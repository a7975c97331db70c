"""SQL of the queue. Every method runs in the caller's transaction."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.jobs.repository import URGENT
from stoker_deployer.queue.line import Holding, Waiting
from stoker_shared.job_state import MACHINE_STATUSES

# Two replicas that count free slots at once would both take the last one.
_SERIALISE = text("SELECT pg_advisory_xact_lock(hashtext(current_schema() || ' slots'))")
_HOLDINGS = text("""
SELECT owner, project, provider, count(*) AS machines FROM jobs WHERE status = ANY(:active)
GROUP BY owner, project, provider
""")
# A job that waits for something else does not compete for slots, until it is due to be looked at again; nor does one
# whose look keeps failing: it would keep a slot free for nothing.
_COMPETES = """
status = 'queued' AND (next_attempt_at IS NULL OR next_attempt_at <= :now)
AND (waits_for = '' OR next_check_at <= :now) AND check_failures < 3
"""
_COLUMNS = "job_id, owner, project, provider, priority, created_at"
# Within one owner, project and provider the same limits hold for all: with n free slots only the first n can begin.
_COMPETING = text(f"""
SELECT {_COLUMNS} FROM (
    SELECT {_COLUMNS}, row_number() OVER (
        PARTITION BY owner, project, provider ORDER BY priority DESC, created_at, job_id) AS place
    FROM jobs WHERE job_id <> :without AND {_COMPETES}) AS ranked
WHERE place <= :most
""")  # noqa: S608 - constants of this module
_ALL = text(f"""
SELECT {_COLUMNS}, next_attempt_at, waits_for, NOT ({_COMPETES}) AS is_held_back FROM jobs WHERE status = 'queued'
""")  # noqa: S608 - constants of this module
# Who is being looked at now is not asleep, and a locked row is just being written by its holder.
_WAKE = text("""
UPDATE jobs SET wakes = wakes + 1, next_check_at = :urgent WHERE job_id IN (
    SELECT job_id FROM jobs WHERE job_id = ANY(:job_ids) AND status = 'queued' AND next_check_at > :now
    FOR UPDATE SKIP LOCKED)
""")
_TURNS = text("SELECT owner, began_at FROM queue_turns WHERE owner = ANY(:owners)")
_TAKE_TURN = text("""
INSERT INTO queue_turns (owner, began_at) VALUES (:owner, :now) ON CONFLICT (owner) DO UPDATE SET began_at = :now
""")
_ACTIVE = [status.value for status in MACHINE_STATUSES]


class QueueRepository:
    """Who waits and who holds machines."""

    async def serialise(self, session: AsyncSession) -> None:
        """Hold off everybody else who gives slots away or takes them back, until commit."""
        await session.execute(_SERIALISE)

    async def holdings(self, session: AsyncSession) -> list[Holding]:
        """Attempts that may have machines."""
        rows = await session.execute(_HOLDINGS, params={"active": _ACTIVE})
        return [Holding(row.owner, row.project, row.provider, row.machines) for row in rows]

    async def competing(self, session: AsyncSession, *, most: int, without: str, now: datetime) -> list[Waiting]:
        """Those that could begin now if `most` slots were free, other than the job `without`."""
        rows = await session.execute(_COMPETING, params={"most": most, "without": without, "now": now})
        return [Waiting(**row) for row in rows.mappings()]

    async def all_waiting(self, session: AsyncSession, *, now: datetime) -> list[Waiting]:
        """Everyone who waits, and what for beside a slot."""
        rows = await session.execute(_ALL, params={"now": now})
        return [_waiting(dict(row), now=now) for row in rows.mappings()]

    async def turns(self, session: AsyncSession, waiting: Iterable[Waiting]) -> dict[str, datetime]:
        """When the owners of these jobs were last given a machine."""
        rows = await session.execute(_TURNS, params={"owners": sorted({job.owner for job in waiting})})
        return {row.owner: row.began_at for row in rows}

    async def take_turn(self, session: AsyncSession, owner: str, *, now: datetime) -> None:
        """An owner is given a machine."""
        await session.execute(_TAKE_TURN, params={"owner": owner, "now": now})

    async def wake(self, session: AsyncSession, job_ids: Sequence[str], *, now: datetime) -> None:
        """Have jobs that sleep in the queue looked at now."""
        if job_ids:
            await session.execute(_WAKE, params={"job_ids": list(job_ids), "now": now, "urgent": URGENT})


def _waiting(row: dict[str, Any], *, now: datetime) -> Waiting:
    next_attempt_at, waits_for = row.pop("next_attempt_at"), row.pop("waits_for")
    is_held_back = row.pop("is_held_back")
    if next_attempt_at is not None and next_attempt_at > now:
        return Waiting(**row, held_back=f"next attempt at {next_attempt_at.isoformat(timespec='seconds')}")
    return Waiting(**row, held_back=(waits_for or "it is looked at again soon") if is_held_back else "")
