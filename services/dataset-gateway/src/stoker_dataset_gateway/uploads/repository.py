"""SQL of upload tickets."""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.uploads.tables import Upload


class UploadRepository:
    """Every method runs in the caller's transaction."""

    async def add(self, session: AsyncSession, upload: Upload) -> None:
        """A new ticket."""
        session.add(upload)

    async def get(self, session: AsyncSession, identifier: str) -> Upload | None:
        """A ticket by its id."""
        return await session.get(Upload, identifier)

    async def sweep(self, session: AsyncSession, *, expired_before: datetime) -> None:
        """Forget tickets that have long run out."""
        await session.execute(delete(Upload).where(col(Upload.expires_at) < expired_before))
