"""SQL of dataset versions."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.uploads.tables import Upload, UploadState

UNDECIDED = ("uploading", "checking")


class DatasetRepository:
    """Every method runs in the caller's transaction."""

    async def get(self, session: AsyncSession, identifier: str) -> DatasetVersion | None:
        """One version, whoever owns it."""
        return await session.get(DatasetVersion, identifier)

    async def of_owner(self, session: AsyncSession, identifier: str, *, owner: str) -> DatasetVersion | None:
        """One version if it belongs to this owner."""
        found = await session.execute(
            select(DatasetVersion).where(col(DatasetVersion.id) == identifier, col(DatasetVersion.owner) == owner)
        )
        return found.scalars().first()

    async def newest(self, session: AsyncSession, *, owner: str, limit: int) -> list[DatasetVersion]:
        """Versions that have been decided on, newest first. What is still being uploaded or checked is not listed."""
        found = await session.execute(
            select(DatasetVersion)
            .where(col(DatasetVersion.owner) == owner, col(DatasetVersion.state).not_in(UNDECIDED))
            .order_by(col(DatasetVersion.created_at).desc(), col(DatasetVersion.id))
            .limit(limit)
        )
        return list(found.scalars())

    async def obtain(self, session: AsyncSession, version: DatasetVersion) -> DatasetVersion:
        """The owner's version with this content, locked: the one that is stored or on its way, else this new one."""
        values = version.model_dump()
        await session.execute(
            insert(DatasetVersion)
            .values(**values)
            .on_conflict_do_nothing(
                # A literal: with a parameter PostgreSQL's generic plan, from the sixth call on, finds no such index.
                index_elements=["owner", "sha256"],
                index_where=text("state <> 'rejected'"),
            )
        )
        found = await session.execute(
            select(DatasetVersion)
            .where(
                col(DatasetVersion.owner) == version.owner,
                col(DatasetVersion.sha256) == version.sha256,
                col(DatasetVersion.state) != "rejected",
            )
            .with_for_update()
        )
        obtained: DatasetVersion = found.scalars().one()
        return obtained

    async def begin_check(self, session: AsyncSession, identifier: str) -> None:
        """All bytes of an upload of this version have come."""
        await session.execute(
            update(DatasetVersion)
            .where(col(DatasetVersion.id) == identifier, col(DatasetVersion.state) == "uploading")
            .values(state="checking")
        )

    async def end_check(self, session: AsyncSession, identifier: str, *, upload_id: str) -> None:
        """The check of this upload ends without a verdict; unless another one goes on, bytes are waited for again."""
        # Held until the caller's transaction ends: of two uploads that end at once, one must see the other's end.
        await session.get(DatasetVersion, identifier, with_for_update=True)
        others = select(Upload).where(
            col(Upload.dataset_version_id) == identifier,
            col(Upload.id) != upload_id,
            col(Upload.state) == UploadState.CHECKING,
        )
        await session.execute(
            update(DatasetVersion)
            .where(col(DatasetVersion.id) == identifier, col(DatasetVersion.state) == "checking", ~others.exists())
            .values(state="uploading")
        )

    async def decide(
        self, session: AsyncSession, identifier: str, *, state: str, now: datetime, values: dict[str, Any]
    ) -> DatasetVersion | None:
        """Stored or rejected, once and for all; None if it was decided before."""
        found = await session.execute(
            update(DatasetVersion)
            .where(col(DatasetVersion.id) == identifier, col(DatasetVersion.state).in_(UNDECIDED))
            .values(state=state, decided_at=now, event_sequence=DatasetVersion.event_sequence + 1, **values)
            .returning(DatasetVersion)
        )
        return found.scalars().first()

    async def sweep_unfinished(self, session: AsyncSession, *, created_before: datetime) -> None:
        """Forget versions that nobody has sent and nobody can send any more."""
        await session.execute(
            delete(DatasetVersion).where(
                col(DatasetVersion.state).in_(UNDECIDED),
                col(DatasetVersion.created_at) < created_before,
                ~select(Upload).where(col(Upload.dataset_version_id) == col(DatasetVersion.id)).exists(),
            )
        )
