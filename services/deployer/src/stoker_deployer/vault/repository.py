"""SQL of secrets. Every method runs in the caller's transaction. Only boxes pass through here."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.vault.versions import SecretVersion
from stoker_shared.sealing import StoredBox

_COLUMNS = "owner, name, version, sealed, key_id, created_at, checked_at, state, hint, account_id, retired_at"
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('secret ' || :owner || ' ' || :name, 0))")
_VERSIONS = text(f"SELECT {_COLUMNS} FROM secrets WHERE owner = :owner AND name = :name ORDER BY version")  # noqa: S608
_VERSIONS_LOCKED = text(
    f"SELECT {_COLUMNS} FROM secrets WHERE owner = :owner AND name = :name ORDER BY version FOR UPDATE"  # noqa: S608
)
_OF_OWNER = text(
    f"SELECT {_COLUMNS} FROM secrets WHERE owner = :owner AND sealed IS NOT NULL ORDER BY name, version DESC"  # noqa: S608
)
_OF_NAMES = text(f"""
SELECT {_COLUMNS} FROM secrets WHERE (owner, name) IN (
    SELECT owner, name FROM secrets WHERE name = ANY(:names) AND sealed IS NOT NULL)
ORDER BY owner, name, version
""")  # noqa: S608
_CURRENT = text("""
SELECT name, max(version) AS version FROM secrets
WHERE owner = :owner AND retired_at IS NULL AND sealed IS NOT NULL GROUP BY name
""")
# Whoever retires the version waits until the attempt that is launched with it can be seen.
_PIN = text("""
SELECT 1 FROM secrets WHERE owner = :owner AND name = :name AND version = :version AND retired_at IS NULL FOR SHARE
""")
_INSERT = text("""
INSERT INTO secrets (owner, name, version, sealed, key_id, created_at, checked_at, state, hint, account_id)
VALUES (:owner, :name, :version, :sealed, :key_id, :created_at, :checked_at, :state, :hint, :account_id)
""")
_RETIRE = text("""
UPDATE secrets SET retired_at = :now WHERE owner = :owner AND name = :name AND retired_at IS NULL RETURNING version
""")
_WIPE = text("""
UPDATE secrets SET sealed = NULL, hint = '' WHERE owner = :owner AND name = :name AND version = ANY(:versions)
""")
# What may still have a machine: an attempt that goes on or has just ended, an open bill, an orphan that is seen.
_USED = text("""
SELECT DISTINCT key_version FROM attempts a
WHERE owner = :owner AND provider = :name AND key_version > 0 AND (
    ended_at IS NULL OR ended_at > :since OR bill_state = 'open'
    OR EXISTS (SELECT 1 FROM stray_machines s WHERE s.provider = a.provider AND s.name = a.machine_name))
""")
_WITH_RETIRED = text("""
SELECT DISTINCT owner, name FROM secrets WHERE retired_at IS NOT NULL AND sealed IS NOT NULL ORDER BY owner, name
""")
_SEALED_OTHERWISE = text(f"""
SELECT {_COLUMNS} FROM secrets WHERE sealed IS NOT NULL AND key_id <> :key_id ORDER BY owner, name, version
""")  # noqa: S608
_RESEAL = text("""
UPDATE secrets SET sealed = :sealed, key_id = :key_id
WHERE owner = :owner AND name = :name AND version = :version AND key_id = :before AND sealed IS NOT NULL
RETURNING version
""")


class SecretRepository:
    """Reads and writes rows of `secrets`."""

    async def lock(self, session: AsyncSession, *, owner: str, name: str) -> None:
        """Versions of one secret are made and retired one after the other."""
        await session.execute(_LOCK, params={"owner": owner, "name": name})

    async def versions(
        self, session: AsyncSession, *, owner: str, name: str, is_locked: bool = False
    ) -> list[SecretVersion]:
        """All that there ever were, oldest first."""
        statement = _VERSIONS_LOCKED if is_locked else _VERSIONS
        return await _rows(session, statement, owner=owner, name=name)

    async def of_owner(self, session: AsyncSession, owner: str) -> list[SecretVersion]:
        """Those whose box is kept, by name, newest first."""
        return await _rows(session, _OF_OWNER, owner=owner)

    async def of_names(self, session: AsyncSession, names: Collection[str]) -> list[SecretVersion]:
        """All versions of all secrets of these names of which any can still be opened."""
        return await _rows(session, _OF_NAMES, names=list(names))

    async def current(self, session: AsyncSession, owner: str) -> dict[str, int]:
        """The version that the next attempt would take, by name."""
        rows = await session.execute(_CURRENT, params={"owner": owner})
        return {row.name: row.version for row in rows}

    async def pin(self, session: AsyncSession, *, owner: str, name: str, version: int) -> bool:
        """Keep a version from being retired until commit. False: it has been."""
        values = {"owner": owner, "name": name, "version": version}
        return (await session.execute(_PIN, params=values)).first() is not None

    async def insert(self, session: AsyncSession, row: SecretVersion) -> None:
        """Store a new version."""
        names = ("owner", "name", "version", "sealed", "key_id", "created_at", "checked_at", "state", "hint")
        values = {name: getattr(row, name) for name in (*names, "account_id")}
        await session.execute(_INSERT, params=values)

    async def retire(self, session: AsyncSession, *, owner: str, name: str, now: datetime) -> bool:
        """No attempt begins with it from now on. False if there was none."""
        values = {"owner": owner, "name": name, "now": now}
        return bool((await session.execute(_RETIRE, params=values)).all())

    async def used(self, session: AsyncSession, *, owner: str, name: str, since: datetime) -> set[int]:
        """Versions with which attempts were launched that may still have something at the provider."""
        values = {"owner": owner, "name": name, "since": since}
        return set((await session.execute(_USED, params=values)).scalars())

    async def wipe(self, session: AsyncSession, rows: Sequence[SecretVersion]) -> None:
        """Forget boxes of one secret for good."""
        if rows:
            versions = [row.version for row in rows]
            await session.execute(_WIPE, params={"owner": rows[0].owner, "name": rows[0].name, "versions": versions})

    async def with_retired(self, session: AsyncSession) -> list[tuple[str, str]]:
        """Owner and name of secrets of which a retired box is kept."""
        return [(row.owner, row.name) for row in await session.execute(_WITH_RETIRED)]

    async def sealed_otherwise(self, session: AsyncSession, key_id: str) -> list[SecretVersion]:
        """Boxes of other keys than this one."""
        return await _rows(session, _SEALED_OTHERWISE, key_id=key_id)

    def boxes_of(self, row: SecretVersion) -> dict[str, StoredBox]:
        """The one box of a version."""
        return {"secret": row.box}

    async def reseal(
        self, session: AsyncSession, row: SecretVersion, sealed: Mapping[str, str], *, key_id: str
    ) -> bool:
        """Put a box of a newer key in the place of one. False: it has changed meanwhile."""
        identity = {"owner": row.owner, "name": row.name, "version": row.version, "before": row.key_id}
        values = {**identity, "sealed": sealed["secret"], "key_id": key_id}
        return (await session.execute(_RESEAL, params=values)).first() is not None


async def _rows(session: AsyncSession, statement: Any, **values: Any) -> list[SecretVersion]:
    return [SecretVersion(**row) for row in (await session.execute(statement, params=values)).mappings()]
