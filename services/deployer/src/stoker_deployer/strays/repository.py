"""Machines that should not be there, as rows: since when they are seen, and what of their cost is booked."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.providers import Machine
from stoker_deployer.providers.accounts import Account

_SEE = text("""
INSERT INTO stray_machines AS known
    (provider, account, handle, name, is_known, first_seen_at, last_seen_at, booked_micro_usd)
VALUES (:provider, :account, :handle, :name, :is_known, :now, :now, 0)
ON CONFLICT (provider, account, handle) DO UPDATE SET last_seen_at = :now, is_known = :is_known
""")
_LISTED = text("SELECT * FROM stray_machines WHERE provider = :provider AND account = :account ORDER BY handle")
_UNKNOWN = text("""
SELECT * FROM stray_machines WHERE NOT is_known AND (account = '' OR starts_with(account, :owner || '/'))
ORDER BY first_seen_at, handle
""")
_LOCK = text("""
SELECT * FROM stray_machines WHERE provider = :provider AND account = :account AND handle = :handle FOR UPDATE
""")
_BOOK = text("""
UPDATE stray_machines SET costs_since = :costs_since, booked_micro_usd = :booked
WHERE provider = :provider AND account = :account AND handle = :handle
""")
_FORGET = text("""
DELETE FROM stray_machines WHERE provider = :provider AND account = :account AND handle = :handle
""")


@dataclass(frozen=True, slots=True)
class Stray:
    """A machine that bears a name of ours and belongs to no attempt that goes on. `is_known`: its attempt is.

    `account`: the label of who pays for it.
    """

    provider: str
    account: str
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
        self, session: AsyncSession, account: Account, machines: Iterable[tuple[Machine, bool]], *, now: datetime
    ) -> None:
        """Note machines, each with whether its attempt is known."""
        for machine, is_known in sorted(machines, key=lambda seen: seen[0].handle):
            values = {**_of(account), "handle": machine.handle, "name": machine.name, "is_known": is_known}
            await session.execute(_SEE, params={**values, "now": now})

    async def listed(self, session: AsyncSession, account: Account) -> list[Stray]:
        """All of an account."""
        return [Stray(**row) for row in (await session.execute(_LISTED, params=_of(account))).mappings()]

    async def unknown(self, session: AsyncSession, owner: str) -> list[Stray]:
        """Those of attempts that no row knows, at the operator's accounts and this owner's."""
        return [Stray(**row) for row in (await session.execute(_UNKNOWN, params={"owner": owner})).mappings()]

    async def lock(self, session: AsyncSession, stray: Stray) -> Stray | None:
        """The row as it stands, held until commit; None if it was forgotten."""
        values = _key(stray)
        row = (await session.execute(_LOCK, params=values)).mappings().first()
        return Stray(**row) if row else None

    async def book(self, session: AsyncSession, stray: Stray, *, costs_since: datetime, booked: int) -> None:
        """Note what is in the ledger of it."""
        values = {**_key(stray), "costs_since": costs_since, "booked": booked}
        await session.execute(_BOOK, params=values)

    async def forget(self, session: AsyncSession, stray: Stray) -> None:
        """It is gone."""
        await session.execute(_FORGET, params=_key(stray))


def _of(account: Account) -> dict[str, str]:
    return {"provider": account.provider.name, "account": account.label}


def _key(stray: Stray) -> dict[str, str]:
    return {"provider": stray.provider, "account": stray.account, "handle": stray.handle}
