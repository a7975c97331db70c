"""SQL of targets. Every method runs in the caller's transaction. Only boxes pass through here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_metrics.notifications.tables import TargetRow
from stoker_shared.rpc.notifications import ADDRESS_NAME, SIGNING_NAME, box_name
from stoker_shared.sealing import StoredBox

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('notify ' || :owner, 0))")
_ADD = text("""
INSERT INTO notification_targets (target_id, owner, name, kind, sealed_address, address_key_id, sealed_signing,
                                  signing_key_id, place, hint, state, state_detail, failures, created_at)
VALUES (:target_id, :owner, :name, :kind, :sealed_address, :address_key_id, :sealed_signing,
        :signing_key_id, :place, :hint, 'active', '', 0, :created_at)
ON CONFLICT DO NOTHING
RETURNING target_id
""")
_SET_STATE = text("""
UPDATE notification_targets
SET state = :state, state_detail = :detail, failures = 0, failing_since = NULL, quiet_until = NULL
WHERE owner = :owner AND target_id = :target_id
RETURNING target_id
""")
_ROTATE = text("""
UPDATE notification_targets
SET previous_signing = sealed_signing, previous_key_id = signing_key_id, previous_until = :until,
    sealed_signing = :sealed, signing_key_id = :key_id
WHERE owner = :owner AND target_id = :target_id AND kind = 'webhook'
RETURNING target_id
""")
_REMOVE = text("DELETE FROM notification_targets WHERE owner = :owner AND target_id = :target_id RETURNING target_id")
_DELIVERED = text("""
UPDATE notification_targets
SET failures = 0, failing_since = NULL, quiet_until = NULL, last_delivered_at = :at WHERE target_id = :target_id
""")
_FAILED = text("""
UPDATE notification_targets
SET failures = failures + 1, failing_since = coalesce(failing_since, :at),
    quiet_until = coalesce(CAST(:quiet_until AS timestamptz), quiet_until)
WHERE target_id = :target_id
RETURNING owner, name, state, failures, failing_since
""")
_END = text("""
UPDATE notification_targets SET state = :state, state_detail = :detail
WHERE target_id = :target_id AND state = 'active'
RETURNING target_id
""")
_OTHERS = text("""
SELECT target_id FROM notification_targets
WHERE owner = :owner AND state = 'active' AND target_id <> :target_id ORDER BY target_id
""")
_SEALED_OTHERWISE = text("""
SELECT target_id, owner, sealed_address, address_key_id, sealed_signing, signing_key_id, previous_signing,
       previous_key_id
FROM notification_targets
WHERE address_key_id <> :key_id OR signing_key_id <> :key_id OR previous_key_id <> :key_id
ORDER BY target_id
""")
_RESEAL = text("""
UPDATE notification_targets
SET sealed_address = :address, address_key_id = :key_id,
    sealed_signing = :signing, signing_key_id = CASE WHEN CAST(:signing AS text) IS NULL THEN NULL ELSE :key_id END,
    previous_signing = :previous, previous_key_id = CASE WHEN CAST(:previous AS text) IS NULL THEN NULL ELSE :key_id END
WHERE target_id = :target_id AND sealed_address = :was_address AND sealed_signing IS NOT DISTINCT FROM :was_signing
  AND previous_signing IS NOT DISTINCT FROM :was_previous
RETURNING target_id
""")


class TargetRepository:
    """Reads and writes targets."""

    async def lock(self, session: AsyncSession, owner: str) -> None:
        """What an owner has is counted and added to one after the other."""
        await session.execute(_LOCK, {"owner": owner})

    async def of_owner(self, session: AsyncSession, owner: str) -> list[TargetRow]:
        """All of an owner, oldest first."""
        statement = select(TargetRow).where(col(TargetRow.owner) == owner)
        rows = await session.scalars(statement.order_by(col(TargetRow.created_at), col(TargetRow.target_id)))
        return list(rows)

    async def one(self, session: AsyncSession, *, owner: str, target_id: str) -> TargetRow | None:
        """A target of an owner."""
        statement = select(TargetRow).where(col(TargetRow.owner) == owner, col(TargetRow.target_id) == target_id)
        found: TargetRow | None = await session.scalar(statement.execution_options(populate_existing=True))
        return found

    async def add(self, session: AsyncSession, values: dict[str, Any]) -> bool:
        """Store a target. False: the name or the id is taken."""
        return (await session.execute(_ADD, values)).first() is not None

    async def set_state(self, session: AsyncSession, *, owner: str, target_id: str, state: str, detail: str) -> bool:
        """Pause it, or begin anew with it. False: no such target."""
        values = {"owner": owner, "target_id": target_id, "state": state, "detail": detail}
        return (await session.execute(_SET_STATE, values)).first() is not None

    async def rotate(
        self, session: AsyncSession, *, owner: str, target_id: str, sealed: str, key_id: str, until: datetime
    ) -> bool:
        """Sign with another secret, and until then with the present one as well. False: no such webhook."""
        values = {"owner": owner, "target_id": target_id, "sealed": sealed, "key_id": key_id, "until": until}
        return (await session.execute(_ROTATE, values)).first() is not None

    async def remove(self, session: AsyncSession, *, owner: str, target_id: str) -> bool:
        """Delete it with its rules and deliveries. False: no such target."""
        return (await session.execute(_REMOVE, {"owner": owner, "target_id": target_id})).first() is not None

    async def delivered(self, session: AsyncSession, *, target_id: str, at: datetime) -> None:
        """It works."""
        await session.execute(_DELIVERED, {"target_id": target_id, "at": at})

    async def failed(self, session: AsyncSession, *, target_id: str, at: datetime, quiet_until: datetime | None) -> Any:
        """One more failure; returns owner, name, state, failures, failing_since. None: it was removed meanwhile."""
        values = {"target_id": target_id, "at": at, "quiet_until": quiet_until}
        return (await session.execute(_FAILED, values)).first()

    async def end(self, session: AsyncSession, *, target_id: str, state: str, detail: str) -> bool:
        """Send nothing more to it. False: that was so already."""
        values = {"target_id": target_id, "state": state, "detail": detail}
        return (await session.execute(_END, values)).first() is not None

    async def others(self, session: AsyncSession, *, owner: str, target_id: str) -> list[str]:
        """The owner's other targets that are in use."""
        rows = await session.execute(_OTHERS, {"owner": owner, "target_id": target_id})
        return list(rows.scalars())

    async def sealed_otherwise(self, session: AsyncSession, key_id: str) -> list[Any]:
        """Those of which any box was sealed with another key."""
        return list((await session.execute(_SEALED_OTHERWISE, {"key_id": key_id})).all())

    def boxes_of(self, row: Any) -> dict[str, StoredBox]:
        """All boxes of a target."""
        kept = {
            "address": (ADDRESS_NAME, row.address_key_id, row.sealed_address),
            "signing": (SIGNING_NAME, row.signing_key_id, row.sealed_signing),
            "previous": (SIGNING_NAME, row.previous_key_id, row.previous_signing),
        }
        return {
            place: StoredBox(row.owner, box_name(row.target_id, what), key_id, sealed)
            for place, (what, key_id, sealed) in kept.items()
            if sealed
        }

    async def reseal(self, session: AsyncSession, row: Any, sealed: Mapping[str, str], *, key_id: str) -> bool:
        """Put other boxes in the place of these. False: they are not these any more."""
        values = {
            "target_id": row.target_id,
            "key_id": key_id,
            "was_address": row.sealed_address,
            "was_signing": row.sealed_signing,
            "was_previous": row.previous_signing,
            **{place: sealed.get(place) for place in ("address", "signing", "previous")},
        }
        return (await session.execute(_RESEAL, values)).first() is not None
