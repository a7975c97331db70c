"""One token, one file."""

from dataclasses import dataclass

from stoker_dataset_gateway.downloads.ranges import ByteRange
from stoker_dataset_gateway.errors import TokenMissing, TokenRefused
from stoker_dataset_gateway.storage import ObjectReader, ObjectStore
from stoker_dataset_gateway.tokens.repository import TokenRepository
from stoker_dataset_gateway.tokens.tables import DownloadToken
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import TransientError
from stoker_shared.logging import get_logger
from stoker_shared.tokens import hashes_equal, is_token_shaped, token_hash

logger = get_logger(__name__)

NEXT_STEPS = {
    "dataset": "The deployer mints a new one with the next attempt.",
    "artifact": "Ask for a new one with POST /v1/artifacts/{id}/download.",
}


@dataclass(frozen=True, slots=True)
class ServedFile:
    """What a token opens. `key` is told to nobody outside."""

    token_hash: str
    key: str
    filename: str
    sha256: str
    size_bytes: int

    @property
    def etag(self) -> str:
        """Strong: the same bytes, always."""
        return f'"{self.sha256}"'


class DownloadService:
    """Finds the file behind a token and opens it."""

    def __init__(self, database: Database, store: ObjectStore, *, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._tokens = TokenRepository()

    async def admit(self, token: str, *, kind: str, is_use: bool) -> ServedFile:
        """The file that the token opens; `is_use` counts it.

        Raises:
            TokenMissing, TokenRefused.
        """
        if not token:
            raise TokenMissing
        found = await self._find(token, kind=kind, is_use=is_use) if is_token_shaped(token) else None
        if found is None:
            raise TokenRefused(next_step=NEXT_STEPS[kind])
        return ServedFile(
            token_hash=found.token_hash,
            key=found.object_key,
            filename=found.filename,
            sha256=found.sha256,
            size_bytes=found.size_bytes,
        )

    async def ensure_there(self, file: ServedFile) -> None:
        """Look whether the store has the bytes.

        Raises:
            ObjectMissing, StoreUnavailable.
        """
        await self._store.size_of(file.key)

    async def open(self, file: ServedFile, part: ByteRange | None) -> ObjectReader:
        """The bytes, or a part of them.

        Raises:
            ObjectMissing, StoreUnavailable.
        """
        if part is None:
            return await self._store.open(file.key)
        return await self._store.open(file.key, offset=part.start, length=part.length)

    async def count_bytes(self, file: ServedFile, count: int) -> None:
        """Account for bytes that went out; the file has been served, so a failure here is only logged."""
        try:
            async with self._database.transaction() as session:
                await self._tokens.add_bytes_served(session, file.token_hash, count)
        except TransientError as error:
            logger.warning("served bytes not counted", bytes=count, reason=error.detail)

    async def _find(self, token: str, *, kind: str, is_use: bool) -> DownloadToken | None:
        wanted = token_hash(token)
        look_up = self._tokens.use_download_token if is_use else self._tokens.download_token
        async with self._database.transaction() as session:
            found = await look_up(session, wanted, kind=kind, now=self._clock.now())
        return found if found is not None and hashes_equal(found.token_hash, wanted) else None
