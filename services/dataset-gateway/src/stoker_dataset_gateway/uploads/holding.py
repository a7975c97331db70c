"""The right of one sender to append to an upload: a lease in its row, renewed while it lives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from stoker_dataset_gateway.errors import UploadGone, WriteInProgress
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_dataset_gateway.uploads.tables import UNFINISHED, Upload
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import StokerError
from stoker_shared.identifiers import new_identifier
from stoker_shared.logging import get_logger
from stoker_shared.tasks import end_tasks

logger = get_logger(__name__)


@dataclass(slots=True)
class Held:
    """An upload and the name under which it is held. `upload` is as the holder last saw or changed it."""

    upload: Upload
    holder: str


class Holding:
    """Gives the right to append to one sender at a time."""

    def __init__(self, database: Database, *, clock: Clock, lease: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._lease = lease
        self._uploads = UploadRepository()

    @asynccontextmanager
    async def held(self, upload_id: str) -> AsyncIterator[Held]:
        """The right to append, until the end of the block.

        Raises:
            WriteInProgress: another sender has it.
            UploadGone: the upload takes no bytes any more.
        """
        holder = new_identifier("holder")
        upload = await self._take(upload_id, holder)
        renewing = asyncio.create_task(self._renew(upload_id, holder))
        try:
            yield Held(upload, holder)
        finally:
            await end_tasks([renewing])
            await self._release(upload_id, holder)

    async def _take(self, upload_id: str, holder: str) -> Upload:
        now = self._clock.now()
        async with self._database.transaction() as session:
            is_held = await self._uploads.hold(session, upload_id, holder=holder, now=now, until=now + self._lease)
            upload = await self._uploads.get(session, upload_id)
        if upload is None:
            raise UploadGone
        if not is_held:
            raise WriteInProgress
        return upload

    async def _renew(self, upload_id: str, holder: str) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            values = {"held_until": self._clock.now() + self._lease}
            try:
                async with self._database.transaction() as session:
                    await self._uploads.change(session, upload_id, states=UNFINISHED, values=values, holder=holder)
            except StokerError as error:
                # The lease outlives two failures; after that the next part is refused.
                logger.warning("upload not renewed", upload_id=upload_id, reason=error.detail)

    async def _release(self, upload_id: str, holder: str) -> None:
        try:
            async with self._database.transaction() as session:
                await self._uploads.release(session, upload_id, holder=holder)
        except StokerError as error:
            logger.warning("upload not released; it is when its lease ends", upload_id=upload_id, reason=error.detail)
