"""SQL of bills: which attempts wait for theirs, and who may book it. Runs in the caller's transaction."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.jobs.errors import ClaimLost
from stoker_shared.money import MicroUsd

# Moving `bill_ask_at` is the claim: another replica does not ask before that. Bills that are long in coming are asked
# for less and less often.
_TAKE_DUE = text("""
UPDATE attempts SET bill_ask_at = CAST(:now AS timestamptz)
    + greatest(CAST(:pause AS interval), (CAST(:now AS timestamptz) - ended_at) / 4)
WHERE (job_id, number) IN (
    SELECT job_id, number FROM attempts WHERE bill_ask_at <= :now
    ORDER BY bill_ask_at LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING job_id, number, provider, owner, key_version, handle, ended_at
""")
_CLOSE = text("""
UPDATE attempts SET bill_state = :state, billed_micro_usd = :billed, bill_ask_at = NULL
WHERE job_id = :job_id AND number = :number AND bill_state = 'open'
RETURNING orphans_micro_usd
""")


class BillState(StrEnum):
    """Where the cost of an attempt comes from. Empty in the row: the provider sends no bills, or nothing was run."""

    OPEN = "open"
    BILLED = "billed"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class Unbilled:
    """An attempt that is over and waits for its bill."""

    job_id: str
    number: int
    provider: str
    owner: str
    key_version: int
    handle: str
    ended_at: datetime


class BillRepository:
    """Attempts and their bills."""

    async def take_due(
        self, session: AsyncSession, *, now: datetime, pause: timedelta, limit: int = 100
    ) -> list[Unbilled]:
        """Attempts whose bill is to be asked for now; nobody else gets them for at least `pause`."""
        rows = await session.execute(_TAKE_DUE, params={"now": now, "pause": pause, "limit": limit})
        return [Unbilled(**row) for row in rows.mappings()]

    async def book(self, session: AsyncSession, due: Unbilled, *, billed: int) -> MicroUsd:
        """The cost of an attempt's machine is what was billed, from now on. Returns what its other machines have cost.

        Raises:
            ClaimLost: that was decided before.
        """
        orphans = await self._close(session, due, state=BillState.BILLED, billed=billed)
        if orphans is None:
            raise ClaimLost(due.job_id)
        return orphans

    async def give_up(self, session: AsyncSession, due: Unbilled) -> None:
        """No bill will come: the estimate stands, and the row says so."""
        await self._close(session, due, state=BillState.ESTIMATED, billed=None)

    async def _close(
        self, session: AsyncSession, due: Unbilled, *, state: BillState, billed: int | None
    ) -> MicroUsd | None:
        values = {"job_id": due.job_id, "number": due.number, "state": state.value, "billed": billed}
        orphans = (await session.execute(_CLOSE, params=values)).scalar()
        return None if orphans is None else MicroUsd(orphans)
