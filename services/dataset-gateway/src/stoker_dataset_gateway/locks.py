"""Locks that last for a transaction, for what has no row yet that could be locked."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


async def hold_lock(session: AsyncSession, name: str) -> None:
    """Until this transaction ends, others that ask for the same name wait."""
    name_hash = func.hashtext(func.current_schema() + " " + name)
    await session.execute(select(func.pg_advisory_xact_lock(name_hash)))  # allowed: sql-outside-repository, shared
