"""SQL of plans."""

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_api.plans.tables import PlanRow


class PlanRepository:
    """Every method runs in the caller's transaction and sees one owner's rows only."""

    async def add(self, session: AsyncSession, row: PlanRow) -> None:
        """Store a plan."""
        session.add(row)

    async def find(self, session: AsyncSession, *, owner: str, plan_id: str) -> PlanRow | None:
        """One plan."""
        statement = select(PlanRow).where(col(PlanRow.id) == plan_id, col(PlanRow.owner) == owner)
        return (await session.scalars(statement)).first()
