"""SQL of attempts and tokens. Every method runs in the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Row, Text, any_, literal, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_metrics.attempts.schemas import AttemptStanding, Standing
from stoker_metrics.attempts.tables import AttemptReportRow
from stoker_shared.rpc.metrics import AdmitAttempt, Control, OrderAttempt

# The conflicting update locks the row, so that admit and revoke of one attempt come one after the other.
_ENTER = text("""
INSERT INTO attempt_reports AS known (job_id, attempt, owner, admitted_at)
VALUES (:job_id, :attempt, :owner, :now)
ON CONFLICT (job_id, attempt) DO UPDATE
SET owner = coalesce(known.owner, excluded.owner), admitted_at = coalesce(known.admitted_at, excluded.admitted_at),
    standing_version = known.standing_version + 1
RETURNING owner, revoked_at
""")
_ADD_TOKEN = text("""
INSERT INTO job_tokens AS known (token_sha256, job_id, attempt, expires_at, created_at)
VALUES (:token_sha256, :job_id, :attempt, :expires_at, :now)
ON CONFLICT (token_sha256) DO UPDATE SET expires_at = greatest(known.expires_at, excluded.expires_at)
WHERE known.job_id = excluded.job_id AND known.attempt = excluded.attempt
RETURNING token_sha256
""")
# Also for an attempt that is not known yet: an admit that was delayed on its way must not open it afterwards.
_END = text("""
INSERT INTO attempt_reports AS known (job_id, attempt, revoked_at) VALUES (:job_id, :attempt, :now)
ON CONFLICT (job_id, attempt) DO UPDATE
SET revoked_at = coalesce(known.revoked_at, excluded.revoked_at), standing_version = known.standing_version + 1
""")
_REVOKE_TOKENS = text("""
UPDATE job_tokens SET revoked_at = :now WHERE job_id = :job_id AND attempt = :attempt AND revoked_at IS NULL
""")
_SELECT_STANDING = """
SELECT r.job_id, r.attempt, r.standing_version AS version, r.revoked_at IS NOT NULL AS is_revoked,
       r.control_action, r.control_reason, r.control_deadline,
       coalesce(jsonb_object_agg(t.token_sha256, t.expires_at) FILTER (WHERE t.token_sha256 IS NOT NULL), '{}')
       AS tokens
FROM attempt_reports r LEFT JOIN job_tokens t USING (job_id, attempt)
"""
_BY_ATTEMPT = "GROUP BY r.job_id, r.attempt"
_STANDING = text(f"{_SELECT_STANDING} WHERE r.job_id = :job_id AND r.attempt = :attempt {_BY_ATTEMPT}")
_STANDING_OF_TOKEN = text(
    f"{_SELECT_STANDING} WHERE (r.job_id, r.attempt) = "  # noqa: S608 - fixed text
    f"(SELECT job_id, attempt FROM job_tokens WHERE token_sha256 = :token_sha256) {_BY_ATTEMPT}"
)
_LIVE_STANDINGS = text(f"{_SELECT_STANDING} WHERE r.revoked_at IS NULL {_BY_ATTEMPT} HAVING max(t.expires_at) > :now")
_ORDER = text("""
UPDATE attempt_reports
SET control_action = :action, control_reason = :reason, control_deadline = :deadline,
    standing_version = standing_version + 1
WHERE job_id = :job_id AND attempt = :attempt
RETURNING job_id
""")
_OWNERS = text("SELECT DISTINCT owner FROM attempt_reports WHERE job_id = :job_id AND owner IS NOT NULL")


class AttemptRepository:
    """Attempts and their tokens."""

    async def enter(self, session: AsyncSession, *, request: AdmitAttempt, now: datetime) -> AttemptStanding:
        """Make the attempt's row if there is none, lock it, and tell whose it is."""
        values = {"job_id": request.job_id, "attempt": request.attempt, "owner": request.owner, "now": now}
        row = (await session.execute(_ENTER, values)).one()
        return AttemptStanding(owner=row.owner, is_revoked=row.revoked_at is not None)

    async def add_token(self, session: AsyncSession, *, request: AdmitAttempt, now: datetime) -> bool:
        """Store a token, or prolong it. False: the token belongs to another attempt."""
        values = {
            "token_sha256": request.job_token_sha256,
            "job_id": request.job_id,
            "attempt": request.attempt,
            "expires_at": request.expires_at,
            "now": now,
        }
        return (await session.execute(_ADD_TOKEN, values)).first() is not None

    async def revoke(self, session: AsyncSession, *, job_id: str, attempt: int, now: datetime) -> None:
        """End an attempt and all its tokens."""
        values = {"job_id": job_id, "attempt": attempt, "now": now}
        await session.execute(_END, values)
        await session.execute(_REVOKE_TOKENS, values)

    async def order(self, session: AsyncSession, *, request: OrderAttempt) -> bool:
        """Keep what the pod of an attempt is to be told. False: no such attempt was admitted."""
        values = {"job_id": request.job_id, "attempt": request.attempt, **request.control.model_dump()}
        return (await session.execute(_ORDER, values)).first() is not None

    async def standing(self, session: AsyncSession, *, job_id: str, attempt: int) -> Standing:
        """What an attempt's tokens open. Read it in the transaction that changes it: the row is locked then."""
        return _standing((await session.execute(_STANDING, {"job_id": job_id, "attempt": attempt})).one())

    async def standing_of_token(self, session: AsyncSession, *, token_sha256: str) -> Standing | None:
        """The attempt that a token belongs to."""
        row = (await session.execute(_STANDING_OF_TOKEN, {"token_sha256": token_sha256})).first()
        return None if row is None else _standing(row)

    async def standings(self, session: AsyncSession, *, now: datetime) -> list[Standing]:
        """All attempts that may report."""
        return [_standing(row) for row in await session.execute(_LIVE_STANDINGS, {"now": now})]

    async def report(self, session: AsyncSession, *, job_id: str, attempt: int) -> AttemptReportRow | None:
        """What the pod of an attempt last said."""
        return await session.get(AttemptReportRow, (job_id, attempt))

    async def reports(
        self, session: AsyncSession, attempts: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], AttemptReportRow]:
        """What the pods of these attempts last said, by job and attempt; those that are not known are left out."""
        job_ids = literal([job_id for job_id, _ in attempts], ARRAY(Text))
        rows = await session.scalars(select(AttemptReportRow).where(col(AttemptReportRow.job_id) == any_(job_ids)))
        return {(row.job_id, row.attempt): row for row in rows}

    async def owner(self, session: AsyncSession, *, job_id: str) -> str | None:
        """Whose job it is; None if no attempt of it was admitted yet."""
        return (await session.execute(_OWNERS, {"job_id": job_id})).scalars().first()


def _standing(row: Row[Any]) -> Standing:
    control = Control(action=row.control_action, reason=row.control_reason, deadline=row.control_deadline)
    return Standing(
        job_id=row.job_id,
        attempt=row.attempt,
        version=row.version,
        is_revoked=row.is_revoked,
        control=control,
        tokens=row.tokens,
    )
