"""SQL of tokens. The hot paths are one statement each: a mint, a renewal and a look-up cost one trip to the server."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import column as sql_column
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.tokens.tables import Attempt, DownloadToken, JobToken
from stoker_shared.database import Statements


@dataclass(frozen=True, slots=True)
class NewTokens:
    """What a mint stores."""

    dataset_version_id: str
    owner: str
    job_id: str
    attempt: int
    now: datetime
    job_token_hash: str
    job_token_expires_at: datetime
    token_hash: str
    kind: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class MintedRow:
    """The version as it is, and what became of the mint."""

    id: str
    state: str
    filename: str
    sha256: str
    size_bytes: int
    report: dict[str, Any]
    is_admitted: bool
    is_token_taken: bool


@dataclass(frozen=True, slots=True)
class FurtherToken:
    """What a renewal stores."""

    job_token_hash: str
    now: datetime
    job_id: str
    token_hash: str
    kind: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RenewedRow:
    """The job of the token, and the version; None where nothing was stored."""

    job_id: str
    dataset_version_id: str | None
    filename: str | None
    sha256: str | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class FoundDownload:
    """A live download token."""

    token_hash: str
    object_key: str
    filename: str
    sha256: str
    size_bytes: int
    expires_at: datetime
    stored_at: datetime | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a token was used for since the last time."""

    token_hash: str
    uses: int
    sent_bytes: int
    used_at: datetime | None


# A `revoke` waits for the row of the attempt that a mint holds, and a mint for that of a revoke: whichever commits
# last sees the other. So no token outlives its attempt.
_MINT = """
WITH version AS (
    SELECT id, state, object_key, filename, sha256, size_bytes, report, decided_at
    FROM dataset_versions WHERE id = $1::text AND owner = $2::text
), attempt AS (
    INSERT INTO attempts (job_id, attempt, admitted_at)
    SELECT $3::text, $4::integer, $5::timestamptz FROM version WHERE state = 'stored'
    ON CONFLICT (job_id, attempt) DO UPDATE SET admitted_at = attempts.admitted_at
        WHERE attempts.revoked_at IS NULL
    RETURNING job_id
), job AS (
    INSERT INTO job_tokens (token_hash, job_id, attempt, owner, dataset_version_id, created_at, expires_at)
    SELECT $6::text, $3::text, $4::integer, $2::text, $1::text, $5::timestamptz, $7::timestamptz FROM attempt
    ON CONFLICT (token_hash) DO UPDATE SET expires_at = excluded.expires_at,
            dataset_version_id = coalesce(job_tokens.dataset_version_id, excluded.dataset_version_id)
        WHERE job_tokens.job_id = excluded.job_id AND job_tokens.attempt = excluded.attempt
    RETURNING job_id
), download AS (
    INSERT INTO download_tokens (token_hash, kind, dataset_version_id, object_key, filename, sha256, size_bytes,
        stored_at, job_id, attempt, created_at, expires_at, use_count, bytes_served)
    SELECT $8::text, $9::text, version.id, version.object_key, version.filename, version.sha256,
        version.size_bytes, version.decided_at, $3::text, $4::integer, $5::timestamptz, $10::timestamptz, 0, 0
    FROM version, job
)
SELECT id, state, filename, sha256, size_bytes, report,
    EXISTS (SELECT FROM attempt) AS is_admitted, EXISTS (SELECT FROM job) AS is_token_taken
FROM version
"""

# FOR SHARE: a revoke waits, and then ends the new token too.
_RENEW = """
WITH job AS (
    SELECT job_id, attempt, owner, dataset_version_id FROM job_tokens
    WHERE token_hash = $1::text AND expires_at > $2::timestamptz AND revoked_at IS NULL
    FOR SHARE
), version AS (
    SELECT found.id, object_key, filename, sha256, size_bytes, decided_at
    FROM dataset_versions AS found, job
    WHERE found.id = job.dataset_version_id AND found.owner = job.owner AND found.state = 'stored'
        AND job.job_id = $3::text
), download AS (
    INSERT INTO download_tokens (token_hash, kind, dataset_version_id, object_key, filename, sha256, size_bytes,
        stored_at, job_id, attempt, created_at, expires_at, use_count, bytes_served)
    SELECT $4::text, $5::text, version.id, version.object_key, version.filename, version.sha256,
        version.size_bytes, version.decided_at, job.job_id, job.attempt, $2::timestamptz, $6::timestamptz, 0, 0
    FROM version, job
)
SELECT job.job_id, version.id AS dataset_version_id, filename, sha256, size_bytes
FROM job LEFT JOIN version ON true
"""

_USE = """
UPDATE download_tokens AS token
SET use_count = token.use_count + used.uses, bytes_served = token.bytes_served + used.sent_bytes,
    used_at = greatest(token.used_at, used.used_at)
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[]) AS used (token_hash, uses, sent_bytes, used_at)
WHERE token.token_hash = used.token_hash
"""

_FIND = """
SELECT token_hash, object_key, filename, sha256, size_bytes, expires_at, stored_at FROM download_tokens
WHERE token_hash = $1::text AND kind = $2::text AND expires_at > $3::timestamptz AND revoked_at IS NULL
"""


class TokenRepository:
    """Tokens are looked up by their hash alone. What takes `statements` is a transaction by itself."""

    async def mint(self, statements: Statements, new: NewTokens) -> MintedRow | None:
        """Store a job token and a download token of a stored version, if the attempt is not over.

        None if the owner has no such version. A job token that is stored already gets a new expiry.
        """
        row = await statements.fetch_row(
            _MINT,
            new.dataset_version_id,
            new.owner,
            new.job_id,
            new.attempt,
            new.now,
            new.job_token_hash,
            new.job_token_expires_at,
            new.token_hash,
            new.kind,
            new.expires_at,
        )
        return MintedRow(**{**row, "report": json.loads(row["report"])}) if row is not None else None

    async def renew(self, statements: Statements, new: FurtherToken) -> RenewedRow | None:
        """Store a further download token for the version that the job token was minted for.

        None if there is no such live job token; without `dataset_version_id` if nothing was stored.
        """
        row = await statements.fetch_row(
            _RENEW, new.job_token_hash, new.now, new.job_id, new.token_hash, new.kind, new.expires_at
        )
        return RenewedRow(**row) if row is not None else None

    async def download(
        self, statements: Statements, token_hash: str, *, kind: str, now: datetime
    ) -> FoundDownload | None:
        """A live download token."""
        row = await statements.fetch_row(_FIND, token_hash, kind, now)
        return FoundDownload(*row) if row is not None else None

    async def add_usage(self, statements: Statements, rows: Sequence[Usage]) -> None:
        """Add to the counts."""
        await statements.fetch_row(
            _USE,
            [row.token_hash for row in rows],
            [row.uses for row in rows],
            [row.sent_bytes for row in rows],
            [row.used_at for row in rows],
        )

    async def add_download_token(self, session: AsyncSession, token: DownloadToken) -> None:
        """Store it, in the caller's transaction."""
        session.add(token)

    async def job_token(
        self, session: AsyncSession, token_hash: str, *, now: datetime, is_held: bool = False
    ) -> JobToken | None:
        """A live job token. `is_held`: it cannot be revoked before the caller's transaction has ended."""
        statement = select(JobToken).where(
            col(JobToken.token_hash) == token_hash,
            col(JobToken.expires_at) > now,
            col(JobToken.revoked_at).is_(None),
        )
        found = await session.execute(statement.with_for_update(read=True) if is_held else statement)
        return found.scalars().first()

    async def revoke(
        self, session: AsyncSession, *, job_id: str, attempt: int, now: datetime, awaits_next: bool
    ) -> None:
        """End all tokens of an attempt, and keep it ended; in the caller's transaction."""
        over = insert(Attempt).values(
            job_id=job_id, attempt=attempt, admitted_at=now, revoked_at=now, awaits_next=awaits_next
        )
        await session.execute(
            over.on_conflict_do_update(
                index_elements=["job_id", "attempt"],
                set_={
                    "revoked_at": func.coalesce(col(Attempt.revoked_at), over.excluded.revoked_at),
                    "awaits_next": over.excluded.awaits_next,
                },
            )
        )
        # Only of its latest attempt can a job be waiting for the next.
        await session.execute(
            update(Attempt)
            .where(col(Attempt.job_id) == job_id, col(Attempt.attempt) < attempt, col(Attempt.awaits_next))
            .values(awaits_next=False)
        )
        for table in (JobToken, DownloadToken):
            await session.execute(
                update(table)
                .where(col(table.job_id) == job_id, col(table.attempt) == attempt, col(table.revoked_at).is_(None))
                .values(revoked_at=now)
            )

    async def sweep(self, session: AsyncSession, *, expired_before: datetime, admitted_before: datetime) -> None:
        """Forget tokens that have long run out, and attempts that began long ago and have no token any more."""
        for table in (JobToken, DownloadToken):
            await session.execute(delete(table).where(col(table.expires_at) < expired_before))
        has_token = (
            select(sql_column("1", is_literal=True))
            .where(col(JobToken.job_id) == col(Attempt.job_id), col(JobToken.attempt) == col(Attempt.attempt))
            .exists()
        )
        is_forgettable = (col(Attempt.admitted_at) < admitted_before, ~has_token, ~col(Attempt.awaits_next))
        await session.execute(delete(Attempt).where(*is_forgettable))
