"""Machines that should not be there, as rows: since when they are seen, and what of their cost is booked."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.providers import Machine

_SEE = text("""
INSERT INTO stray_machines AS known (provider, handle, name, is_known, first_seen_at, last_seen_at, booked_micro_usd)
VALUES (:provider, :handle, :name, :is_known, :now, :now, 0)
ON CONFLICT (provider, handle) DO UPDATE SET last_seen_at = :now, is_known = :is_known
""")
_LISTED = text("SELECT * FROM stray_machines WHERE provider = :provider ORDER BY handle")
_UNKNOWN = text("SELECT * FROM stray_machines WHERE NOT is_known ORDER BY first_seen_at, handle")
_LOCK = text("SELECT * FROM stray_machines WHERE provider = :provider AND handle = :handle FOR UPDATE")
_BOOK = text("""
UPDATE stray_machines SET costs_since = :costs_since, booked_micro_usd = :booked
WHERE provider = :provider AND handle = :handle
""")
_FORGET = text("DELETE FROM stray_machines WHERE provider = :provider AND handle = :handle")


@dataclass(frozen=True, slots=True)
class Stray:
    """A machine that bears a name of ours and belongs to no attempt that goes on. `is_known`: its attempt is."""

    provider: str
    handle: str
    name: str
    is_known: bool
    first_seen_at: datetime
    last_seen_at: datetime
    costs_since: datetime | None
    booked_micro_usd: int


class StrayRepository:
    """SQL of strays. Every method runs in the caller's transaction."""

    async def see(
        self, session: AsyncSession, provider: str, machines: Iterable[tuple[Machine, bool]], *, now: datetime
    ) -> None:
        """Note machines, each with whether its attempt is known."""
        for machine, is_known in sorted(machines, key=lambda seen: seen[0].handle):
            values = {"provider": provider, "handle": machine.handle, "name": machine.name, "is_known": is_known}
            await session.execute(_SEE, params={**values, "now": now})

    async def listed(self, session: AsyncSession, provider: str) -> list[Stray]:
        """All of a provider."""
        return [Stray(**row) for row in (await session.execute(_LISTED, params={"provider": provider})).mappings()]

    async def unknown(self, session: AsyncSession) -> list[Stray]:
        """Those of attempts that no row knows, of all providers."""
        return [Stray(**row) for row in (await session.execute(_UNKNOWN)).mappings()]

    async def lock(self, session: AsyncSession, stray: Stray) -> Stray | None:
        """The row as it stands, held until commit; None if it was forgotten."""
        values = {"provider": stray.provider, "handle": stray.handle}
        row = (await session.execute(_LOCK, params=values)).mappings().first()
        return Stray(**row) if row else None

    async def book(self, session: AsyncSession, stray: Stray, *, costs_since: datetime, booked: int) -> None:
        """Note what is in the ledger of it."""
        values = {"provider": stray.provider, "handle": stray.handle, "costs_since": costs_since, "booked": booked}
        await session.execute(_BOOK, params=values)

    async def forget(self, session: AsyncSession, stray: Stray) -> None:
        """It is gone."""
        await session.execute(_FORGET, params={"provider": stray.provider, "handle": stray.handle})
