"""The inbox: whether a message is new to a consumer, decided in the transaction of its effects."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_shared.outbox.tables import ProcessedMessage

__all__ = ["ProcessedMessage", "first_time"]


async def first_time(session: AsyncSession, *, consumer: str, event_id: UUID, now: datetime) -> bool:
    """Record the message and tell whether this consumer meets it for the first time."""
    statement = (
        insert(ProcessedMessage)
        .values(consumer=consumer, event_id=event_id, processed_at=now)
        .on_conflict_do_nothing()
        .returning(col(ProcessedMessage.event_id))
    )
    return (await session.execute(statement)).first() is not None
