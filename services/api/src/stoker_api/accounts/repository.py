"""SQL of users and keys."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_api.accounts.tables import ApiKeyRow, UserRow


class AccountRepository:
    """Every method runs in the caller's transaction."""

    async def find(self, session: AsyncSession, *, key_sha256: str) -> tuple[ApiKeyRow, UserRow] | None:
        """The key and its user."""
        statement = (
            select(ApiKeyRow, UserRow)
            .join(UserRow, col(UserRow.id) == col(ApiKeyRow.owner))
            .where(col(ApiKeyRow.key_sha256) == key_sha256)
        )
        row = (await session.execute(statement)).first()
        return None if row is None else (row[0], row[1])

    async def add_user(self, session: AsyncSession, user: UserRow) -> None:
        """Store a user, unless its id is there."""
        statement = insert(UserRow).values(**user.model_dump()).on_conflict_do_nothing(index_elements=["id"])
        await session.execute(statement)

    async def add_key(self, session: AsyncSession, key: ApiKeyRow) -> None:
        """Store a key, unless it is there."""
        statement = insert(ApiKeyRow).values(**key.model_dump()).on_conflict_do_nothing(index_elements=["key_sha256"])
        await session.execute(statement)

    async def revoke_keys(
        self, session: AsyncSession, *, owner: str, name: str, except_sha256: str, now: datetime
    ) -> None:
        """Revoke the keys of that name but one."""
        statement = (
            update(ApiKeyRow)
            .where(col(ApiKeyRow.owner) == owner, col(ApiKeyRow.name) == name, col(ApiKeyRow.revoked_at).is_(None))
            .where(col(ApiKeyRow.key_sha256) != except_sha256)
            .values(revoked_at=now)
        )
        await session.execute(statement)
