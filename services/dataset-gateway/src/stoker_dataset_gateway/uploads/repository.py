"""SQL of uploads."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.storage import StoredPart
from stoker_dataset_gateway.uploads.tables import TAKES_BYTES, UNFINISHED, Upload, UploadPart, UploadState, UploadToken

_FREE = {"held_by": None, "held_until": None}


class UploadRepository:
    """Every method runs in the caller's transaction."""

    async def add(self, session: AsyncSession, upload: Upload) -> None:
        """A new upload."""
        session.add(upload)
        await session.flush()

    async def add_token(self, session: AsyncSession, upload_id: str, *, token_hash: str) -> None:
        """One more token that opens it."""
        session.add(UploadToken(token_hash=token_hash, upload_id=upload_id))

    async def get(self, session: AsyncSession, identifier: str) -> Upload | None:
        """An upload by its id."""
        return await session.get(Upload, identifier)

    async def locked(self, session: AsyncSession, identifier: str) -> Upload | None:
        """An upload by its id, locked."""
        return await session.get(Upload, identifier, with_for_update=True)

    async def token(self, session: AsyncSession, token_hash: str) -> UploadToken | None:
        """A token by its hash."""
        return await session.get(UploadToken, token_hash)

    async def unfinished_like(self, session: AsyncSession, wanted: Upload, *, now: datetime) -> Upload | None:
        """An upload of the same version under the same names that can go on, locked."""
        found = await session.execute(
            select(Upload)
            .where(
                col(Upload.dataset_version_id) == wanted.dataset_version_id,
                col(Upload.name) == wanted.name,
                col(Upload.filename) == wanted.filename,
                col(Upload.size_bytes) == wanted.size_bytes,
                col(Upload.is_converted_if_possible) == wanted.is_converted_if_possible,
                col(Upload.state).in_(UNFINISHED),
                or_(col(Upload.expires_at) > now, col(Upload.state) == UploadState.CHECKING),
            )
            .order_by(col(Upload.offset_bytes).desc(), col(Upload.id))
            .limit(1)
            .with_for_update()
        )
        return found.scalars().first()

    async def hold(
        self, session: AsyncSession, identifier: str, *, holder: str, now: datetime, until: datetime
    ) -> bool:
        """Take the right to append; false if another has it, or no bytes are taken any more."""
        found = await session.execute(
            update(Upload)
            .where(
                col(Upload.id) == identifier,
                col(Upload.state).in_(TAKES_BYTES),
                or_(col(Upload.held_until).is_(None), col(Upload.held_until) < now),
            )
            .values(held_by=holder, held_until=until)
            .returning(col(Upload.id))
        )
        return found.first() is not None

    async def claim_check(self, session: AsyncSession, *, holder: str, now: datetime, until: datetime) -> Upload | None:
        """Take the right to check an upload that nobody checks now."""
        waiting = (
            select(col(Upload.id))
            .where(
                col(Upload.state) == UploadState.CHECKING,
                or_(col(Upload.held_until).is_(None), col(Upload.held_until) < now),
            )
            .order_by(col(Upload.created_at))
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        found = await session.execute(
            update(Upload)
            .where(col(Upload.id) == waiting)
            .values(held_by=holder, held_until=until, checked_bytes=0)
            .returning(Upload)
        )
        return found.scalars().first()

    async def sha256_of(self, session: AsyncSession, upload: Upload) -> str:
        """The announced SHA-256 of its content."""
        found = await session.execute(
            select(col(DatasetVersion.sha256)).where(col(DatasetVersion.id) == upload.dataset_version_id)
        )
        return found.scalar_one()

    async def change(
        self,
        session: AsyncSession,
        identifier: str,
        *,
        states: Collection[str],
        values: Mapping[str, Any],
        holder: str | None = None,
    ) -> bool:
        """Change an upload if it is in one of these states and, where one is named, still its holder's."""
        statement = update(Upload).where(col(Upload.id) == identifier, col(Upload.state).in_(states))
        if holder is not None:
            statement = statement.where(col(Upload.held_by) == holder)
        found = await session.execute(statement.values(**values).returning(col(Upload.id)))
        return found.first() is not None

    async def release(self, session: AsyncSession, identifier: str, *, holder: str) -> None:
        """Give the right to append or to check back."""
        await self.change(session, identifier, states=UNFINISHED, values=_FREE, holder=holder)

    async def put_parts(self, session: AsyncSession, identifier: str, parts: Sequence[StoredPart]) -> None:
        """Note parts that the store has; a number that is noted gets the new ETag."""
        for part in parts:
            statement = insert(UploadPart).values(upload_id=identifier, number=part.number, etag=part.etag)
            await session.execute(
                statement.on_conflict_do_update(
                    index_elements=["upload_id", "number"], set_={"etag": statement.excluded.etag}
                )
            )

    async def parts(self, session: AsyncSession, identifier: str) -> list[StoredPart]:
        """The parts of an upload in order."""
        found = await session.execute(
            select(UploadPart).where(col(UploadPart.upload_id) == identifier).order_by(col(UploadPart.number))
        )
        return [StoredPart(part.number, part.etag) for part in found.scalars()]

    async def forget_parts(self, session: AsyncSession, identifier: str) -> None:
        """The parts are no parts any more."""
        await session.execute(delete(UploadPart).where(col(UploadPart.upload_id) == identifier))

    async def expired(self, session: AsyncSession, *, now: datetime, limit: int) -> list[Upload]:
        """Uploads that have run out with their bytes still in the store, locked."""
        found = await session.execute(
            select(Upload)
            .where(
                col(Upload.expires_at) <= now,
                col(Upload.state).in_(TAKES_BYTES),
                or_(col(Upload.held_until).is_(None), col(Upload.held_until) < now),
            )
            .order_by(col(Upload.expires_at))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return list(found.scalars())

    async def sweep(self, session: AsyncSession, *, expired_before: datetime) -> None:
        """Forget uploads that have long ended."""
        await session.execute(
            delete(Upload).where(col(Upload.expires_at) < expired_before, col(Upload.state).not_in(UNFINISHED))
        )
