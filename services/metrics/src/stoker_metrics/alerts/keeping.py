"""Which alerts are kept and told."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.alerts.repository import AlertRepository
from stoker_shared.rpc.metrics import Alert

CAPPED = "alerts_capped"


class AlertKeeper:
    """Stores alerts. Whoever calls holds the attempts' locks."""

    def __init__(self) -> None:
        self._rows = AlertRepository()

    async def keep(self, session: AsyncSession, alerts: Sequence[Alert], *, most: int) -> list[Alert]:
        """Store alerts and return those to be told: the new ones in order, and that it was the last one of its level.

        `most`: of one level in one job. So warnings without end leave room for the error that ends the job.
        """
        if not alerts:
            return []
        stored = await self._rows.store(session, alerts, most=most)
        # The first of two under one number is as good as any: a pod gives a number once.
        told = {_key(alert): alert for alert in reversed(alerts) if _key(alert) in stored}
        new = [told[key] for key in sorted(told)]
        if not new:
            return []
        full = await self._rows.full(session, sorted({alert.job_id for alert in new}), most=most)
        last = {(alert.job_id, alert.level): alert for alert in new}
        return new + [_capped(last[place], most) for place in full if place in last]


def _key(alert: Alert) -> tuple[str, int, int]:
    return alert.job_id, alert.attempt, alert.sequence


def _capped(last: Alert, most: int) -> Alert:
    kind = f"{last.level}s" if most > 1 else last.level
    text = f"{most:,} {kind} of this job are kept; later ones stand in its log alone"
    return last.model_copy(update={"level": "warning", "code": CAPPED, "message": text})
