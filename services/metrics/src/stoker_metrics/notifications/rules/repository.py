"""SQL of rules and of what is known of jobs. Every method runs in the caller's transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_metrics.notifications.tables import NotifiedJobRow, RuleRow
from stoker_shared.events import JobEvent

_ADD = text("""
INSERT INTO notification_rules (rule_id, owner, target_id, events, project, budget_share, queued_after_seconds,
                                created_at)
SELECT :rule_id, :owner, target_id, CAST(:events AS text[]), :project, :budget_share, :queued_after_seconds, :created_at
FROM notification_targets WHERE owner = :owner AND target_id = :target_id
RETURNING rule_id
""")
_REMOVE = text("DELETE FROM notification_rules WHERE owner = :owner AND rule_id = :rule_id RETURNING rule_id")
_MATCHING = text("""
SELECT DISTINCT ON (r.target_id) r.rule_id, r.target_id
FROM notification_rules r JOIN notification_targets t USING (target_id)
WHERE r.owner = :owner AND :type = ANY(r.events) AND (r.project IS NULL OR r.project = :project) AND t.state <> 'gone'
ORDER BY r.target_id, r.created_at, r.rule_id
""")
# An event that comes late moves nothing back, but may bring what only it tells.
_SEEN = text("""
INSERT INTO notification_jobs AS known (job_id, owner, project, budget_micro_usd, sequence, attempt, status,
    status_since, spent_micro_usd, price_micro_usd_per_hour, billing_started_at, last_heard_at)
VALUES (:job_id, CAST(:owner AS text), CAST(:project AS text), CAST(:budget_micro_usd AS bigint), :sequence, :attempt,
        :status, :at, :spent_micro_usd, :price_micro_usd_per_hour, CAST(:billing_started_at AS timestamptz),
        :now)
ON CONFLICT (job_id) DO UPDATE SET
    owner = coalesce(known.owner, excluded.owner),
    project = coalesce(known.project, excluded.project),
    budget_micro_usd = coalesce(known.budget_micro_usd, excluded.budget_micro_usd),
    status_since = CASE WHEN excluded.sequence > known.sequence AND excluded.status <> known.status
                        THEN excluded.status_since ELSE known.status_since END,
    attempt = CASE WHEN excluded.sequence > known.sequence THEN excluded.attempt ELSE known.attempt END,
    status = CASE WHEN excluded.sequence > known.sequence THEN excluded.status ELSE known.status END,
    spent_micro_usd = CASE WHEN excluded.sequence > known.sequence
                           THEN excluded.spent_micro_usd ELSE known.spent_micro_usd END,
    price_micro_usd_per_hour = CASE WHEN excluded.sequence > known.sequence
                               THEN excluded.price_micro_usd_per_hour ELSE known.price_micro_usd_per_hour END,
    billing_started_at = CASE WHEN excluded.sequence > known.sequence
                              THEN excluded.billing_started_at ELSE known.billing_started_at END,
    sequence = greatest(known.sequence, excluded.sequence),
    last_heard_at = greatest(known.last_heard_at, excluded.last_heard_at)
""")
# Locks the row, too: what becomes of a job's alerts is decided one after the other.
_HEARD = text("""
UPDATE notification_jobs SET last_heard_at = greatest(last_heard_at, :now) WHERE job_id = :job_id
""")
_FORGET = text("""
DELETE FROM notification_jobs WHERE job_id IN (
    SELECT job_id FROM notification_jobs
    WHERE status IN ('completed', 'failed', 'cancelled') AND last_heard_at < :before
    ORDER BY last_heard_at LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING job_id
""")
_BY_THE_CLOCK = """
FROM notification_jobs j
JOIN notification_rules r
  ON r.owner = j.owner AND :type = ANY(r.events) AND (r.project IS NULL OR r.project = j.project)
JOIN notification_targets t ON t.target_id = r.target_id AND t.state <> 'gone'
WHERE j.status NOT IN ('completed', 'failed', 'cancelled')
"""
_SPENT = """(j.spent_micro_usd + CASE WHEN j.billing_started_at IS NULL THEN 0 ELSE
    greatest(0, extract(epoch FROM CAST(:now AS timestamptz) - j.billing_started_at))
    * j.price_micro_usd_per_hour / 3600 END)"""
_BUDGETS = text(f"""
SELECT j.job_id, r.rule_id, r.target_id, r.budget_share AS mark, r.queued_after_seconds
{_BY_THE_CLOCK}
  AND j.budget_micro_usd > 0 AND {_SPENT} >= r.budget_share * j.budget_micro_usd
  AND NOT EXISTS (SELECT 1 FROM notification_deliveries d
                  WHERE d.target_id = r.target_id AND d.job_id = j.job_id AND d.rule_id = r.rule_id AND d.type = :type)
ORDER BY j.job_id, r.rule_id LIMIT :limit
""")  # noqa: S608 - parts of our own
_QUEUED = text(f"""
SELECT j.job_id, r.rule_id, r.target_id, r.budget_share AS mark, r.queued_after_seconds
{_BY_THE_CLOCK}
  AND j.status = 'queued' AND j.status_since + make_interval(secs => r.queued_after_seconds) <= :now
  AND NOT EXISTS (SELECT 1 FROM notification_deliveries d
                  WHERE d.target_id = r.target_id AND d.job_id = j.job_id AND d.rule_id = r.rule_id AND d.type = :type
                    AND d.occurred_at >= j.status_since)
ORDER BY j.job_id, r.rule_id LIMIT :limit
""")  # noqa: S608 - parts of our own
BY_THE_CLOCK = {"job.budget_share": _BUDGETS, "job.queued_long": _QUEUED}


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that asks for an event, and its target."""

    rule_id: str
    target_id: str


class RuleRepository:
    """Reads and writes rules and jobs."""

    async def add(self, session: AsyncSession, values: dict[str, Any]) -> bool:
        """Store a rule. False: the target is not theirs."""
        return (await session.execute(_ADD, values)).first() is not None

    async def of_owner(self, session: AsyncSession, owner: str) -> list[RuleRow]:
        """All of an owner, oldest first."""
        statement = select(RuleRow).where(col(RuleRow.owner) == owner)
        return list(await session.scalars(statement.order_by(col(RuleRow.created_at), col(RuleRow.rule_id))))

    async def remove(self, session: AsyncSession, *, owner: str, rule_id: str) -> bool:
        """Delete a rule. False: no such rule."""
        return (await session.execute(_REMOVE, {"owner": owner, "rule_id": rule_id})).first() is not None

    async def matching(
        self, session: AsyncSession, *, owner: str, project: str | None, notification: str
    ) -> list[Match]:
        """Rules that ask for such an event, one for each target."""
        values = {"owner": owner, "project": project, "type": notification}
        return [Match(row.rule_id, row.target_id) for row in await session.execute(_MATCHING, values)]

    async def seen(
        self,
        session: AsyncSession,
        event: JobEvent,
        *,
        now: datetime,
        owner: str | None = None,
        project: str | None = None,
        budget_micro_usd: int | None = None,
    ) -> None:
        """Keep what an event tells of its job."""
        values = {
            "job_id": event.job_id,
            "owner": owner,
            "project": project,
            "budget_micro_usd": budget_micro_usd,
            "sequence": event.sequence,
            "attempt": event.attempt,
            "status": event.status.value,
            "at": event.occurred_at,
            "spent_micro_usd": event.spent_micro_usd,
            "price_micro_usd_per_hour": event.price_micro_usd_per_hour,
            "billing_started_at": event.billing_started_at,
            "now": now,
        }
        await session.execute(_SEEN, values)

    async def heard(self, session: AsyncSession, job_id: str, *, now: datetime) -> None:
        """Note that its pods told something, and lock what is known of the job."""
        await session.execute(_HEARD, {"job_id": job_id, "now": now})

    async def forget_jobs(self, session: AsyncSession, *, heard_before: datetime, limit: int) -> int:
        """Forget some jobs that are over and were last heard of before that moment. Returns how many."""
        return len((await session.execute(_FORGET, {"before": heard_before, "limit": limit})).all())

    async def job(self, session: AsyncSession, job_id: str) -> NotifiedJobRow | None:
        """What is known of a job."""
        return await session.get(NotifiedJobRow, job_id, populate_existing=True)

    async def by_the_clock(self, session: AsyncSession, notification: str, *, now: datetime, limit: int) -> list[Any]:
        """Jobs and rules for which the time or the money has come, and nothing was stored yet."""
        values = {"type": notification, "now": now, "limit": limit}
        return list((await session.execute(BY_THE_CLOCK[notification], values)).all())
