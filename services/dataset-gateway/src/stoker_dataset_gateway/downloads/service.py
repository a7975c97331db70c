"""One token, one file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from stoker_dataset_gateway.downloads.conditions import Validators
from stoker_dataset_gateway.downloads.limits import TokenLimits
from stoker_dataset_gateway.downloads.ranges import ByteRange
from stoker_dataset_gateway.errors import TokenMissing, TokenRefused
from stoker_dataset_gateway.storage import ObjectReader, ObjectSocket, ObjectStore, PublicStore
from stoker_dataset_gateway.tokens.repository import TokenRepository
from stoker_dataset_gateway.tokens.usage import UsageLedger
from stoker_shared.clock import Clock
from stoker_shared.database import Statements
from stoker_shared.tokens import hashes_equal, is_token_shaped, token_hash

NEXT_STEPS = {
    "dataset": "Ask for a new one with the job token: POST /v1/jobs/{job_id}/downloads.",
    "artifact": "Ask for a new one with POST /v1/artifacts/{id}/download.",
}


@dataclass(frozen=True, slots=True)
class ServedFile:
    """What a token opens. `key` is told to nobody outside."""

    token_hash: str
    key: str
    filename: str
    size_bytes: int
    expires_at: datetime
    validators: Validators


@dataclass(frozen=True, slots=True)
class DownloadRules:
    """`idle_timeout`: how long a client may take nothing. `redirect_lifetime`: of an address at the store itself.

    `public_store`: clients are sent there instead of being served here.
    """

    idle_timeout: timedelta
    redirect_lifetime: timedelta
    public_store: PublicStore | None = None


class DownloadService:
    """Finds the file behind a token and opens it."""

    def __init__(
        self,
        statements: Statements,
        store: ObjectStore,
        *,
        clock: Clock,
        limits: TokenLimits,
        usage: UsageLedger,
        rules: DownloadRules,
    ) -> None:
        self._statements = statements
        self._store = store
        self._clock = clock
        self._usage = usage
        self._public_store = rules.public_store
        self._tokens = TokenRepository()
        self.limits = limits
        self.rules = rules

    @property
    def is_redirecting(self) -> bool:
        """Whether clients fetch from the store itself."""
        return self._public_store is not None

    @property
    def has_sockets(self) -> bool:
        """Whether `open_socket` works with this store."""
        return self._store.has_sockets

    async def admit(self, token: str, *, kind: str) -> ServedFile:
        """The file that the token opens.

        Raises:
            TokenMissing, TokenRefused; TooManyRequests: the token is used too often.
        """
        if not token:
            raise TokenMissing
        if not is_token_shaped(token):
            raise TokenRefused(next_step=NEXT_STEPS[kind])
        wanted = token_hash(token)
        found = await self._tokens.download(self._statements, wanted, kind=kind, now=self._clock.now())
        if found is None or not hashes_equal(found.token_hash, wanted):
            raise TokenRefused(next_step=NEXT_STEPS[kind])
        self.limits.count_request(wanted)
        return ServedFile(
            token_hash=found.token_hash,
            key=found.object_key,
            filename=found.filename,
            size_bytes=found.size_bytes,
            expires_at=found.expires_at,
            validators=Validators(found.sha256, found.stored_at),
        )

    async def ensure_there(self, file: ServedFile) -> None:
        """Look whether the store has the bytes.

        Raises:
            ObjectMissing, StoreUnavailable.
        """
        await self._store.size_of(file.key)

    async def open_socket(self, file: ServedFile, part: ByteRange) -> ObjectSocket:
        """A part of the bytes on a bare socket.

        Raises:
            ObjectMissing, StoreUnavailable.
        """
        return await self._store.open_socket(file.key, offset=part.start, length=part.length)

    @asynccontextmanager
    async def reading(self, file: ServedFile, part: ByteRange) -> AsyncIterator[ObjectReader]:
        """A part of the bytes, block by block.

        Raises:
            ObjectMissing, StoreUnavailable.
        """
        reader = await self._store.open(file.key, offset=part.start, length=part.length)
        try:
            yield reader
        finally:
            await reader.close()

    def address_at_store(self, file: ServedFile, *, disposition: str, media_type: str) -> str:
        """Where the client finds the bytes itself; no longer good than the token."""
        assert self._public_store is not None  # noqa: S101 - asked for only if redirecting
        left = max(file.expires_at - self._clock.now(), timedelta(seconds=1))
        return self._public_store.url_of(
            file.key,
            lifetime=min(self.rules.redirect_lifetime, left),
            answer_headers={
                "Content-Disposition": disposition,
                "Content-Type": media_type,
                "Cache-Control": "no-store",
            },
        )

    def count_use(self, file: ServedFile) -> None:
        """Account for a GET."""
        self._usage.count_use(file.token_hash)

    def count_bytes(self, file: ServedFile, count: int) -> None:
        """Account for bytes that went out."""
        self._usage.count_bytes(file.token_hash, count)
