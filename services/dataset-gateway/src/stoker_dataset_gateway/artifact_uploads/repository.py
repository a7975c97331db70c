"""SQL of uploads by parts."""

from datetime import datetime

from sqlalchemy import CursorResult, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.artifact_uploads.tables import ArtifactPart, ArtifactUpload
from stoker_dataset_gateway.tokens.tables import Attempt


class ArtifactUploadRepository:
    """Every method runs in the caller's transaction."""

    async def add(self, session: AsyncSession, upload: ArtifactUpload) -> None:
        """A new upload."""
        session.add(upload)
        await session.flush()

    async def of_attempt(
        self, session: AsyncSession, identifier: str, *, job_id: str, attempt: int
    ) -> ArtifactUpload | None:
        """An upload if it belongs to this attempt."""
        found = await session.execute(
            select(ArtifactUpload).where(
                col(ArtifactUpload.id) == identifier,
                col(ArtifactUpload.job_id) == job_id,
                col(ArtifactUpload.attempt) == attempt,
            )
        )
        return found.scalars().first()

    async def receiving(self, session: AsyncSession, *, job_id: str, attempt: int, name: str) -> ArtifactUpload | None:
        """The upload under way of this name."""
        found = await session.execute(
            select(ArtifactUpload).where(
                col(ArtifactUpload.job_id) == job_id,
                col(ArtifactUpload.attempt) == attempt,
                col(ArtifactUpload.name) == name,
                col(ArtifactUpload.state) == "receiving",
            )
        )
        return found.scalars().first()

    async def reserved_bytes(self, session: AsyncSession, job_id: str, *, beside: str | None) -> int:
        """Bytes that uploads under way will take when they are whole, `beside` left out."""
        statement = select(func.coalesce(func.sum(col(ArtifactUpload.size_bytes)), 0)).where(
            col(ArtifactUpload.job_id) == job_id, col(ArtifactUpload.state) == "receiving"
        )
        if beside is not None:
            statement = statement.where(col(ArtifactUpload.id) != beside)
        found = await session.execute(statement)
        return int(found.scalar_one())

    async def touch(self, session: AsyncSession, identifier: str, *, now: datetime) -> bool:
        """Somebody works on it; false if it does not receive any more."""
        result = await session.execute(
            update(ArtifactUpload)
            .where(col(ArtifactUpload.id) == identifier, col(ArtifactUpload.state) == "receiving")
            .values(touched_at=now)
        )
        return _touched(result)

    async def parts(self, session: AsyncSession, identifier: str) -> list[ArtifactPart]:
        """The parts that are there, by number."""
        found = await session.execute(
            select(ArtifactPart).where(col(ArtifactPart.upload_id) == identifier).order_by(col(ArtifactPart.number))
        )
        return list(found.scalars())

    async def part(self, session: AsyncSession, identifier: str, number: int) -> ArtifactPart | None:
        """One part, if it is there."""
        return await session.get(ArtifactPart, (identifier, number))

    async def put_part(self, session: AsyncSession, part: ArtifactPart) -> None:
        """Note a part; the same number again takes the earlier one's place."""
        statement = insert(ArtifactPart).values(**part.model_dump())
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["upload_id", "number"],
                set_={"sha256": statement.excluded.sha256, "etag": statement.excluded.etag},
            )
        )

    async def claim_check(
        self, session: AsyncSession, identifier: str, *, now: datetime, until: datetime, is_renewal: bool = False
    ) -> bool:
        """Take the right to check it, or keep it; false if it is another's, or the upload is over."""
        statement = update(ArtifactUpload).where(
            col(ArtifactUpload.id) == identifier, col(ArtifactUpload.state) == "receiving"
        )
        if not is_renewal:
            statement = statement.where(
                or_(col(ArtifactUpload.checking_until).is_(None), col(ArtifactUpload.checking_until) <= now)
            )
        return _touched(await session.execute(statement.values(checking_until=until, touched_at=now)))

    async def end_check(self, session: AsyncSession, identifier: str) -> None:
        """Let others check it."""
        await session.execute(
            update(ArtifactUpload).where(col(ArtifactUpload.id) == identifier).values(checking_until=None)
        )

    async def mark_stored(self, session: AsyncSession, identifier: str, *, now: datetime) -> bool:
        """The artifact has its row; false if the upload was given up meanwhile."""
        result = await session.execute(
            update(ArtifactUpload)
            .where(col(ArtifactUpload.id) == identifier, col(ArtifactUpload.state) == "receiving")
            .values(state="stored", touched_at=now, checking_until=None)
        )
        await session.execute(delete(ArtifactPart).where(col(ArtifactPart.upload_id) == identifier))
        return _touched(result)

    async def forget(self, session: AsyncSession, identifier: str) -> None:
        """Forget an upload under way, and its parts."""
        await session.execute(
            delete(ArtifactUpload).where(col(ArtifactUpload.id) == identifier, col(ArtifactUpload.state) == "receiving")
        )

    async def end_abandoned(self, session: AsyncSession, *, touched_before: datetime) -> list[str]:
        """Forget uploads that nobody goes on with, or may go on with; returns the keys of their objects."""
        is_revoked = (
            select(Attempt)
            .where(
                col(Attempt.job_id) == col(ArtifactUpload.job_id),
                col(Attempt.attempt) == col(ArtifactUpload.attempt),
                col(Attempt.revoked_at).is_not(None),
            )
            .exists()
        )
        result = await session.execute(
            delete(ArtifactUpload)
            .where(
                col(ArtifactUpload.state) == "receiving",
                or_(col(ArtifactUpload.touched_at) < touched_before, is_revoked),
            )
            .returning(col(ArtifactUpload.object_key))
        )
        return list(result.scalars())

    async def sweep_stored(self, session: AsyncSession, *, touched_before: datetime) -> None:
        """Forget uploads that ended well long ago."""
        await session.execute(
            delete(ArtifactUpload).where(
                col(ArtifactUpload.state) == "stored", col(ArtifactUpload.touched_at) < touched_before
            )
        )


def _touched(result: object) -> bool:
    assert isinstance(result, CursorResult)  # noqa: S101 - what an UPDATE or DELETE gives
    return bool(result.rowcount)
