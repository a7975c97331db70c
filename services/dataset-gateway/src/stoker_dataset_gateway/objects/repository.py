"""SQL of object writes."""

from datetime import datetime

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.objects.tables import ObjectWrite


class ObjectWriteRepository:
    """Every method runs in the caller's transaction."""

    async def add(self, session: AsyncSession, *, object_key: str, purpose: str, busy_until: datetime) -> None:
        """Note that this object is about to be written."""
        session.add(ObjectWrite(object_key=object_key, purpose=purpose, busy_until=busy_until))

    async def renew(self, session: AsyncSession, object_key: str, *, busy_until: datetime) -> bool:
        """Keep the write; false if it was condemned meanwhile."""
        result = await session.execute(
            update(ObjectWrite)
            .where(col(ObjectWrite.object_key) == object_key, col(ObjectWrite.condemned_at).is_(None))
            .values(busy_until=busy_until)
        )
        return _touched(result)

    async def keep(self, session: AsyncSession, object_key: str) -> bool:
        """The object has its row now; false if it was condemned."""
        result = await session.execute(
            delete(ObjectWrite).where(
                col(ObjectWrite.object_key) == object_key, col(ObjectWrite.condemned_at).is_(None)
            )
        )
        return _touched(result)

    async def condemn(self, session: AsyncSession, object_key: str, *, now: datetime) -> bool:
        """The object will be deleted; false if it was kept, or forgotten already."""
        result = await session.execute(
            update(ObjectWrite).where(col(ObjectWrite.object_key) == object_key).values(condemned_at=now)
        )
        return _touched(result)

    async def condemn_abandoned(self, session: AsyncSession, *, now: datetime, limit: int) -> list[str]:
        """Writes whose writer is gone, and those that were condemned before but are still in the store."""
        abandoned = (
            select(col(ObjectWrite.object_key))
            .where(col(ObjectWrite.busy_until) < now)
            .order_by(col(ObjectWrite.busy_until))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        result = await session.execute(
            update(ObjectWrite)
            .where(col(ObjectWrite.object_key).in_(abandoned))
            .values(condemned_at=now)
            .returning(col(ObjectWrite.object_key))
        )
        return list(result.scalars())

    async def forget(self, session: AsyncSession, object_key: str) -> None:
        """The condemned object is out of the store."""
        await session.execute(
            delete(ObjectWrite).where(
                col(ObjectWrite.object_key) == object_key, col(ObjectWrite.condemned_at).is_not(None)
            )
        )


def _touched(result: object) -> bool:
    assert isinstance(result, CursorResult)  # noqa: S101 - what an UPDATE or DELETE gives
    return bool(result.rowcount)
