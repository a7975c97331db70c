"""SQL of cool-downs. Every method runs in the caller's transaction."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import select

from stoker_deployer.retrying.tables import OfferCooldown, OfferKey, key_of

# Of many jobs that are refused at once, one makes the cool-down longer.
_COOL = text("""
INSERT INTO offer_cooldowns AS known (provider, gpu_type, gpu_count, place, until, why, refusals)
VALUES (:provider, :gpu_type, :gpu_count, :place, CAST(:now AS timestamptz) + CAST(:first AS interval), :why, 1)
ON CONFLICT (provider, gpu_type, gpu_count, place) DO UPDATE SET
    why = excluded.why,
    refusals = known.refusals + 1,
    until = CAST(:now AS timestamptz)
        + LEAST(CAST(:first AS interval) * power(2, LEAST(known.refusals, 20)), CAST(:longest AS interval))
WHERE known.until <= :now OR known.until = known.probe_until
""")
_PROBE = text("""
UPDATE offer_cooldowns SET until = :probe_until, probe_until = :probe_until
WHERE provider = :provider AND gpu_type = :gpu_type AND gpu_count = :gpu_count AND place = :place AND until <= :now
""")
_UNTIL = text("""
SELECT until FROM offer_cooldowns
WHERE provider = :provider AND gpu_type = :gpu_type AND gpu_count = :gpu_count AND place = :place
""")
_FORGET = text("""
DELETE FROM offer_cooldowns
WHERE provider = :provider AND gpu_type = :gpu_type AND gpu_count = :gpu_count AND place = :place
""")


class CooldownRepository:
    """One row an offer that was refused since it last had a machine."""

    async def known(self, session: AsyncSession) -> dict[OfferKey, OfferCooldown]:
        """All cool-downs, also those that are over: whoever comes first after one tries the offer for all."""
        return {key_of(row): row for row in (await session.scalars(select(OfferCooldown))).all()}

    async def cool(
        self, session: AsyncSession, key: OfferKey, *, why: str, now: datetime, first: timedelta, longest: timedelta
    ) -> None:
        """The offer was refused: nobody asks for it for `first`, twice as long each further time, up to `longest`."""
        values = _values(key) | {"why": why, "now": now, "first": first, "longest": longest}
        await session.execute(_COOL, params=values)

    async def probe(self, session: AsyncSession, key: OfferKey, *, now: datetime, lasts: timedelta) -> datetime | None:
        """Be the one who tries an offer that has cooled down; others wait for the outcome, at most for `lasts`.

        Returns until when the offer cools if somebody else was faster, None if the caller may go ahead.
        """
        values = _values(key) | {"now": now, "probe_until": now + lasts}
        taken: Any = await session.execute(_PROBE, params=values)
        if taken.rowcount:
            return None
        row = (await session.execute(_UNTIL, params=_values(key))).first()
        return row[0] if row is not None and row[0] > now else None

    async def forget(self, session: AsyncSession, key: OfferKey) -> None:
        """The offer has given a machine."""
        await session.execute(_FORGET, params=_values(key))


def _values(key: OfferKey) -> dict[str, Any]:
    return key._asdict()
