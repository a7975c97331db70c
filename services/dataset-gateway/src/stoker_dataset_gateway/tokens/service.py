"""Minting, revoking and looking up tokens."""

from datetime import timedelta

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.errors import TokenRefused
from stoker_dataset_gateway.tokens.repository import FurtherToken, MintedRow, NewTokens, TokenRepository
from stoker_dataset_gateway.tokens.schemas import RenewedDownload
from stoker_dataset_gateway.tokens.tables import JobToken
from stoker_shared.clock import Clock
from stoker_shared.database import Database, Statements
from stoker_shared.errors import Conflict, Forbidden, NotFound
from stoker_shared.recipe import DataFormat
from stoker_shared.rpc.contract import Empty
from stoker_shared.rpc.dataset_gateway import DownloadMinted, MintDownload, RevokeAttempt
from stoker_shared.tokens import hashes_equal, is_token_shaped, mint_token, token_hash

DATASET_DOWNLOAD = "dataset"
_NEW_TOKEN = "The job gets a new one with its next attempt; a deployer mints it."  # noqa: S105


class TokenService:
    """What the deployer asks, and whether a bearer may do what it asks for."""

    def __init__(
        self,
        database: Database,
        statements: Statements,
        *,
        clock: Clock,
        public_url: str,
        longest_download: timedelta,
    ) -> None:
        self._database = database
        self._statements = statements
        self._clock = clock
        self._public_url = public_url
        self._longest_download = longest_download
        self._tokens = TokenRepository()

    async def mint(self, request: MintDownload) -> DownloadMinted:
        """A download token for a stored version, and the job token's hash taken in. Each call adds tokens.

        Raises:
            NotFound: no such version of this owner.
            Conflict: it is not stored, or the attempt is over.
        """
        now, token = self._clock.now(), mint_token()
        expires_at = now + min(timedelta(seconds=request.download_lifetime_seconds), self._longest_download)
        new = NewTokens(
            dataset_version_id=request.dataset_version_id,
            owner=request.owner,
            job_id=request.job_id,
            attempt=request.attempt,
            now=now,
            job_token_hash=request.job_token_sha256,
            job_token_expires_at=request.job_token_expires_at,
            token_hash=token_hash(token),
            kind=DATASET_DOWNLOAD,
            expires_at=expires_at,
        )
        version = _admitted(await self._tokens.mint(self._statements, new), request)
        return DownloadMinted(
            download_url=self._address(token),
            sha256=version.sha256,
            size_bytes=version.size_bytes,
            filename=version.filename,
            data_format=DataFormat(version.report["data_format"]),
            conversion=version.report.get("conversion"),
            expires_at=expires_at,
        )

    async def renew(self, job_id: str, *, job_token: str) -> RenewedDownload:
        """A further download token for the version that the job token was minted for. Earlier ones stay good.

        Raises:
            TokenRefused; Forbidden: the token of another job; NotFound: its dataset is gone.
        """
        if not is_token_shaped(job_token):
            raise TokenRefused(next_step=_NEW_TOKEN)
        now, token = self._clock.now(), mint_token()
        expires_at = now + self._longest_download
        new = FurtherToken(
            job_token_hash=token_hash(job_token),
            now=now,
            job_id=job_id,
            token_hash=token_hash(token),
            kind=DATASET_DOWNLOAD,
            expires_at=expires_at,
        )
        row = await self._tokens.renew(self._statements, new)
        if row is None:
            raise TokenRefused(next_step=_NEW_TOKEN)
        if row.job_id != job_id:
            raise Forbidden("The job token belongs to another job.", next_step="Use the token of this job.")
        if row.sha256 is None or row.size_bytes is None or row.filename is None:
            raise NotFound("dataset", "of this job", next_step="Launch the job again with a dataset that is stored.")
        return RenewedDownload(
            download_url=self._address(token),
            expires_at=expires_at,
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            filename=row.filename,
        )

    async def revoke(self, request: RevokeAttempt) -> Empty:
        """End all tokens of an attempt. Once answered, nothing more is stored for it."""
        async with self._database.transaction() as session:
            await self._tokens.revoke(
                session,
                job_id=request.job_id,
                attempt=request.attempt,
                now=self._clock.now(),
                awaits_next=request.another_follows,
            )
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

    def _address(self, token: SecretStr) -> str:
        return f"{self._public_url}/v1/datasets/download?token={token.get_secret_value()}"


def _admitted(row: MintedRow | None, request: MintDownload) -> MintedRow:
    if row is None:
        raise NotFound("dataset", request.dataset_version_id, next_step="Plan with a dataset of your own.")
    if row.state != "stored":
        raise Conflict(
            f"The dataset {row.id} is {row.state}, not stored.",
            next_step="Upload it whole and without faults, then launch again.",
        )
    if not row.is_admitted:
        raise Conflict(
            f"Attempt {request.attempt} of {request.job_id} is over.", next_step="Mint for the next attempt."
        )
    if not row.is_token_taken:
        raise Conflict("This job token belongs to another attempt.", next_step="Mint with a fresh job token.")
    return row
