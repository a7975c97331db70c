"""What an upload has in the store, and letting go of it."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.objects.service import ObjectWriter
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_dataset_gateway.uploads.tables import Upload

NOTHING_THERE: dict[str, Any] = {
    "offset_bytes": 0,
    "object_key": None,
    "store_upload": None,
    "tail_key": None,
    "tail_bytes": 0,
    "checked_bytes": 0,
    "held_by": None,
    "held_until": None,
}
"""The columns of an upload that has nothing in the store and no holder."""


class Remains:
    """Lets go of the objects and parts of an upload, so that a crash at any point leaves none behind."""

    def __init__(self, writer: ObjectWriter) -> None:
        self._writer = writer
        self._uploads = UploadRepository()

    async def let_go(self, session: AsyncSession, upload: Upload) -> list[str]:
        """In the transaction that sets `NOTHING_THERE`; returns the keys to `delete` after it."""
        keys = [key for key in (upload.object_key, upload.tail_key) if key is not None]
        for key in keys:
            await self._writer.give_up(session, key)
        await self._uploads.forget_parts(session, upload.id)
        return keys

    async def delete(self, keys: list[str]) -> None:
        """After the commit. What fails is left to the sweep."""
        for key in keys:
            await self._writer.discard(key)
