"""Minting, revoking and looking up tokens."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.errors import TokenRefused
from stoker_dataset_gateway.locks import hold_lock
from stoker_dataset_gateway.tokens.repository import TokenRepository
from stoker_dataset_gateway.tokens.tables import DownloadToken, JobToken
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import Conflict, NotFound
from stoker_shared.recipe import DataFormat
from stoker_shared.rpc.contract import Empty
from stoker_shared.rpc.dataset_gateway import DownloadMinted, MintDownload, RevokeAttempt
from stoker_shared.tokens import hashes_equal, is_token_shaped, mint_token, token_hash

DATASET_DOWNLOAD = "dataset"
_NEW_TOKEN = "The job gets a new one with its next attempt; a deployer mints it."  # noqa: S105


class TokenService:
    """What the deployer asks, and whether a bearer may do what it asks for."""

    def __init__(self, database: Database, *, clock: Clock, public_url: str, longest_download: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._public_url = public_url
        self._longest_download = longest_download
        self._tokens = TokenRepository()
        self._versions = DatasetRepository()

    async def mint(self, request: MintDownload) -> DownloadMinted:
        """A download token for a stored version, and the job token's hash taken in. Each call adds tokens.

        Raises:
            NotFound: no such version of this owner.
            Conflict: it is not stored, or the attempt is over.
        """
        now = self._clock.now()
        token = mint_token()
        lifetime = min(timedelta(seconds=request.download_lifetime_seconds), self._longest_download)
        async with self._database.transaction() as session:
            version = await self._stored_version(session, request)
            await self._admit_attempt(session, request)
            download = DownloadToken(
                token_hash=token_hash(token),
                kind=DATASET_DOWNLOAD,
                dataset_version_id=version.id,
                object_key=version.object_key or "",  # a stored version has one, says the table
                filename=version.filename,
                sha256=version.sha256,
                size_bytes=version.size_bytes,
                job_id=request.job_id,
                attempt=request.attempt,
                created_at=now,
                expires_at=now + lifetime,
            )
            await self._tokens.add_download_token(session, download)
        return DownloadMinted(
            download_url=f"{self._public_url}/v1/datasets/download?token={token.get_secret_value()}",
            sha256=version.sha256,
            size_bytes=version.size_bytes,
            filename=version.filename,
            data_format=DataFormat(version.report["data_format"]),
            conversion=version.report.get("conversion"),
            expires_at=download.expires_at,
        )

    async def revoke(self, request: RevokeAttempt) -> Empty:
        """End all tokens of an attempt. Once answered, nothing more is stored for it."""
        async with self._database.transaction() as session:
            await hold_lock(session, _attempt_name(request.job_id, request.attempt))
            await self._tokens.revoke(session, job_id=request.job_id, attempt=request.attempt, now=self._clock.now())
        return Empty()

    async def attempt_of(self, token: str) -> JobToken:
        """The attempt that this job token belongs to.

        Raises:
            TokenRefused.
        """
        async with self._database.transaction() as session:
            return await self.hold_attempt(session, token, is_held=False)

    async def hold_attempt(self, session: AsyncSession, token: str, *, is_held: bool = True) -> JobToken:
        """As `attempt_of`; the attempt stays alive until the caller's transaction has ended.

        Raises:
            TokenRefused.
        """
        if is_token_shaped(token):
            wanted = token_hash(token)
            found = await self._tokens.job_token(session, wanted, now=self._clock.now(), is_held=is_held)
            if found is not None and hashes_equal(found.token_hash, wanted):
                return found
        raise TokenRefused(next_step=_NEW_TOKEN)

    async def _stored_version(self, session: AsyncSession, request: MintDownload) -> DatasetVersion:
        version = await self._versions.of_owner(session, request.dataset_version_id, owner=request.owner)
        if version is None:
            raise NotFound("dataset", request.dataset_version_id, next_step="Plan with a dataset of your own.")
        if version.state != "stored":
            raise Conflict(
                f"The dataset {version.id} is {version.state}, not stored.",
                next_step="Upload it whole and without faults, then launch again.",
            )
        return version

    async def _admit_attempt(self, session: AsyncSession, request: MintDownload) -> None:
        await hold_lock(session, _attempt_name(request.job_id, request.attempt))
        if await self._tokens.is_over(session, job_id=request.job_id, attempt=request.attempt):
            raise Conflict(
                f"Attempt {request.attempt} of {request.job_id} is over.", next_step="Mint for the next attempt."
            )
        token = JobToken(
            token_hash=request.job_token_sha256,
            job_id=request.job_id,
            attempt=request.attempt,
            owner=request.owner,
            created_at=self._clock.now(),
            expires_at=request.job_token_expires_at,
        )
        if not await self._tokens.add_job_token(session, token):
            raise Conflict("This job token belongs to another attempt.", next_step="Mint with a fresh job token.")


def _attempt_name(job_id: str, attempt: int) -> str:
    return f"attempt:{job_id}:{attempt}"
