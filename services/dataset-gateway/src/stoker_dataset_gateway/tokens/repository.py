"""SQL of tokens."""

from datetime import datetime

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.tokens.tables import DownloadToken, JobToken, RevokedAttempt


class TokenRepository:
    """Every method runs in the caller's transaction. Tokens are looked up by their hash alone."""

    async def is_over(self, session: AsyncSession, *, job_id: str, attempt: int) -> bool:
        """Whether the attempt was revoked."""
        return await session.get(RevokedAttempt, (job_id, attempt)) is not None

    async def add_job_token(self, session: AsyncSession, token: JobToken) -> bool:
        """Store it; a repeated call moves its expiry. False if the hash belongs to another attempt."""
        statement = insert(JobToken).values(**token.model_dump())
        result = await session.execute(
            statement.on_conflict_do_update(
                index_elements=["token_hash"],
                set_={"expires_at": statement.excluded.expires_at},
                where=(col(JobToken.job_id) == token.job_id) & (col(JobToken.attempt) == token.attempt),
            ).returning(col(JobToken.token_hash))
        )
        return result.first() is not None

    async def add_download_token(self, session: AsyncSession, token: DownloadToken) -> None:
        """Store it."""
        session.add(token)

    async def job_token(
        self, session: AsyncSession, token_hash: str, *, now: datetime, is_held: bool = False
    ) -> JobToken | None:
        """A live job token. `is_held`: it cannot be revoked before this transaction has ended."""
        statement = select(JobToken).where(
            col(JobToken.token_hash) == token_hash,
            col(JobToken.expires_at) > now,
            col(JobToken.revoked_at).is_(None),
        )
        found = await session.execute(statement.with_for_update(read=True) if is_held else statement)
        return found.scalars().first()

    async def download_token(
        self, session: AsyncSession, token_hash: str, *, kind: str, now: datetime
    ) -> DownloadToken | None:
        """A live download token."""
        found = await session.execute(select(DownloadToken).where(*_alive(token_hash, kind=kind, now=now)))
        return found.scalars().first()

    async def use_download_token(
        self, session: AsyncSession, token_hash: str, *, kind: str, now: datetime
    ) -> DownloadToken | None:
        """A live download token, counted as used once more."""
        found = await session.execute(
            update(DownloadToken)
            .where(*_alive(token_hash, kind=kind, now=now))
            .values(used_at=now, use_count=col(DownloadToken.use_count) + 1)
            .returning(DownloadToken)
        )
        return found.scalars().first()

    async def add_bytes_served(self, session: AsyncSession, token_hash: str, count: int) -> None:
        """Count bytes that went out."""
        await session.execute(
            update(DownloadToken)
            .where(col(DownloadToken.token_hash) == token_hash)
            .values(bytes_served=col(DownloadToken.bytes_served) + count)
        )

    async def revoke(self, session: AsyncSession, *, job_id: str, attempt: int, now: datetime) -> None:
        """End all tokens of an attempt, and keep it ended."""
        await session.execute(
            insert(RevokedAttempt).values(job_id=job_id, attempt=attempt, revoked_at=now).on_conflict_do_nothing()
        )
        for table in (JobToken, DownloadToken):
            await session.execute(
                update(table)
                .where(col(table.job_id) == job_id, col(table.attempt) == attempt, col(table.revoked_at).is_(None))
                .values(revoked_at=now)
            )

    async def sweep(self, session: AsyncSession, *, expired_before: datetime, revoked_before: datetime) -> None:
        """Forget tokens that have long run out, and attempts that have long been over."""
        for table in (JobToken, DownloadToken):
            await session.execute(delete(table).where(col(table.expires_at) < expired_before))
        await session.execute(delete(RevokedAttempt).where(col(RevokedAttempt.revoked_at) < revoked_before))


def _alive(token_hash: str, *, kind: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        col(DownloadToken.token_hash) == token_hash,
        col(DownloadToken.kind) == kind,
        col(DownloadToken.expires_at) > now,
        col(DownloadToken.revoked_at).is_(None),
    )
