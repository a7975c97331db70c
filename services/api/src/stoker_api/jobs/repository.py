"""SQL of job views and job events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_api.jobs.spans import Moment
from stoker_api.jobs.tables import JobEventRow, JobViewRow
from stoker_shared.events import AnyJobEvent, CostSettled, JobEvent, ProvisioningStarted
from stoker_shared.job_state import TERMINAL, JobStatus

JOB_EVENTS_CHANNEL = "stoker_api_job_events"
"""The PostgreSQL channel on which the id of a job with a new event is told to every replica."""

_STATE_COLUMNS = (
    *("status", "sequence", "attempt", "spent_micro_usd", "price_micro_usd_per_hour", "billing_started_at"),
    *("reason", "detail", "updated_at"),
)

# One round trip for the whole question of a launch: the key, the plan, and an earlier launch under the same
# idempotency key. The ids are bound to the owner of the key in the joins.
_CANDIDATE = text("""
SELECT k.owner, k.expires_at AS key_expires_at, k.revoked_at AS key_revoked_at,
       p.id AS plan_id, p.name, p.provider, p.plan_hash, p.frozen, p.environment, p.is_launchable,
       p.expires_at AS plan_expires_at, p.checked_at,
       CASE WHEN p.is_launchable THEN NULL ELSE p.answer -> 'blocking' END AS blocking,
       j.job_id AS earlier_job_id, j.plan_id AS earlier_plan_id
FROM api_keys k
LEFT JOIN plans p ON p.id = :plan_id AND p.owner = k.owner
LEFT JOIN job_views j ON j.idempotency_key = :idempotency_key AND j.owner = k.owner
WHERE k.key_sha256 = :key_sha256
""")
_MARK_CHECKED = text("UPDATE plans SET checked_at = :now WHERE id = :plan_id AND checked_at < :now")
_MACHINE = text("""
UPDATE job_views
SET provider = :provider, gpu_type = :gpu_type, gpu_count = :gpu_count, machine_sequence = :sequence
WHERE job_id = :job_id AND machine_sequence < :sequence
""")
_NOTIFY = text("SELECT pg_notify(:channel, :job_id)")
_REQUEST_CANCEL = text("""
UPDATE job_views SET cancel_requested_at = :now
WHERE job_id = :job_id AND owner = :owner AND status <> ALL(:terminal)
  AND (cancel_requested_at IS NULL OR cancel_requested_at < :again_before)
RETURNING job_id
""")
_TERMINAL = sorted(status.value for status in TERMINAL)


@dataclass(frozen=True, slots=True)
class LaunchCandidate:
    """What a launch has to know, read in one statement. Plan fields are None if this owner has no such plan."""

    owner: str
    key_expires_at: datetime | None
    key_revoked_at: datetime | None
    plan_id: str | None
    name: str
    provider: str
    plan_hash: str
    frozen: str
    environment: dict[str, str]
    is_launchable: bool
    plan_expires_at: datetime
    checked_at: datetime
    blocking: list[dict[str, str]] | None
    earlier_job_id: str | None
    earlier_plan_id: str | None


class JobRepository:
    """Every method runs in the caller's transaction; those with `owner` see that owner's rows only."""

    async def launch_candidate(
        self, session: AsyncSession, *, key_sha256: str, plan_id: str, idempotency_key: str | None
    ) -> LaunchCandidate | None:
        """Key, plan and earlier launch; None if the key is unknown."""
        values = {"key_sha256": key_sha256, "plan_id": plan_id, "idempotency_key": idempotency_key}
        row = (await session.execute(_CANDIDATE, values)).mappings().first()
        return None if row is None else LaunchCandidate(**row)

    async def add_launched(self, session: AsyncSession, row: JobViewRow) -> bool:
        """Store the view of a new job; False if its owner has used the idempotency key before."""
        statement = (
            insert(JobViewRow)
            .values(**row.model_dump())
            .on_conflict_do_nothing(index_elements=["owner", "idempotency_key"])
            .returning(col(JobViewRow.job_id))
        )
        return (await session.execute(statement)).first() is not None

    async def mark_checked(self, session: AsyncSession, *, plan_id: str, now: datetime) -> None:
        """The facts of a plan were found unchanged."""
        await session.execute(_MARK_CHECKED, {"plan_id": plan_id, "now": now})

    async def find(self, session: AsyncSession, *, owner: str, job_id: str) -> JobViewRow | None:
        """One job."""
        statement = select(JobViewRow).where(col(JobViewRow.job_id) == job_id, col(JobViewRow.owner) == owner)
        return (await session.scalars(statement)).first()

    async def find_by_key(self, session: AsyncSession, *, owner: str, idempotency_key: str) -> JobViewRow | None:
        """The job that this key launched."""
        statement = select(JobViewRow).where(
            col(JobViewRow.idempotency_key) == idempotency_key, col(JobViewRow.owner) == owner
        )
        return (await session.scalars(statement)).first()

    async def newest(
        self, session: AsyncSession, *, owner: str, status: JobStatus | None, before: str | None, limit: int
    ) -> list[JobViewRow]:
        """The newest jobs, older than the job `before` if it is given."""
        statement = select(JobViewRow).where(col(JobViewRow.owner) == owner)
        if status is not None:
            statement = statement.where(col(JobViewRow.status) == status.value)
        if before is not None:
            place = (
                select(col(JobViewRow.created_at), col(JobViewRow.job_id))
                .where(col(JobViewRow.job_id) == before, col(JobViewRow.owner) == owner)
                .scalar_subquery()
            )
            statement = statement.where(tuple_(col(JobViewRow.created_at), col(JobViewRow.job_id)) < place)
        order = (col(JobViewRow.created_at).desc(), col(JobViewRow.job_id).desc())
        return list((await session.scalars(statement.order_by(*order).limit(limit))).all())

    async def request_cancel(
        self, session: AsyncSession, *, owner: str, job_id: str, now: datetime, again_before: datetime
    ) -> bool:
        """Record the wish; False if the job is over, unknown, or was asked to end after `again_before`."""
        values = {"job_id": job_id, "owner": owner, "now": now, "again_before": again_before, "terminal": _TERMINAL}
        return (await session.execute(_REQUEST_CANCEL, values)).first() is not None

    async def add_event(self, session: AsyncSession, event: JobEvent, *, now: datetime) -> bool:
        """Keep an event for replay; False if it is there already."""
        statement = (
            insert(JobEventRow)
            .values(
                job_id=event.job_id,
                sequence=event.sequence,
                event_id=event.event_id,
                payload=event.model_dump(mode="json"),
                recorded_at=now,
            )
            .on_conflict_do_nothing()
            .returning(col(JobEventRow.sequence))
        )
        return (await session.execute(statement)).first() is not None

    async def moments(self, session: AsyncSession, event: JobEvent) -> list[Moment]:
        """The statuses of the job before an event, oldest first."""
        statement = (
            select(col(JobEventRow.payload))
            .where(col(JobEventRow.job_id) == event.job_id, col(JobEventRow.sequence) < event.sequence)
            .order_by(col(JobEventRow.sequence))
        )
        payloads = (await session.execute(statement)).scalars()
        return [Moment(JobStatus(told["status"]), datetime.fromisoformat(told["occurred_at"])) for told in payloads]

    async def apply(self, session: AsyncSession, event: AnyJobEvent) -> None:
        """Bring the view to the state after this event, unless it knows a later one; make it if there is none."""
        statement = insert(JobViewRow).values(name="", created_at=event.occurred_at, **_state_after(event))
        newer = {name: statement.excluded[name] for name in _STATE_COLUMNS}
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["job_id"], set_=newer, where=col(JobViewRow.sequence) < statement.excluded.sequence
            )
        )
        if isinstance(event, ProvisioningStarted):
            await session.execute(_MACHINE, _machine_of(event))

    async def notify(self, session: AsyncSession, job_id: str) -> None:
        """Wake the streams of every replica when this transaction commits."""
        await session.execute(_NOTIFY, {"channel": JOB_EVENTS_CHANNEL, "job_id": job_id})

    async def events_after(self, session: AsyncSession, *, job_id: str, sequence: int, limit: int) -> list[JobEventRow]:
        """Stored events in order. The caller has checked whose job it is."""
        statement = (
            select(JobEventRow)
            .where(col(JobEventRow.job_id) == job_id, col(JobEventRow.sequence) > sequence)
            .order_by(col(JobEventRow.sequence))
            .limit(limit)
        )
        return list((await session.scalars(statement)).all())

    async def bills(self, session: AsyncSession, *, job_id: str) -> list[CostSettled]:
        """What providers have billed for the job's attempts, in their order. The caller has checked whose job it is."""
        payload = col(JobEventRow.payload)
        statement = select(payload).where(col(JobEventRow.job_id) == job_id, payload["type"].astext == "cost_settled")
        told = [CostSettled.model_validate(found) for found in (await session.scalars(statement)).all()]
        latest = {event.settled_attempt: event for event in sorted(told, key=lambda event: event.sequence)}
        return [latest[attempt] for attempt in sorted(latest)]

    async def status_of(self, session: AsyncSession, *, job_id: str) -> JobStatus | None:
        """Where a job stands. The caller has checked whose job it is."""
        found = (await session.scalars(select(col(JobViewRow.status)).where(col(JobViewRow.job_id) == job_id))).first()
        return None if found is None else JobStatus(found)


def _state_after(event: AnyJobEvent) -> dict[str, Any]:
    reason = getattr(event, "reason", None)
    return {
        "job_id": event.job_id,
        "status": event.status.value,
        "sequence": event.sequence,
        "attempt": event.attempt,
        "spent_micro_usd": event.spent_micro_usd,
        "price_micro_usd_per_hour": event.price_micro_usd_per_hour,
        "billing_started_at": event.billing_started_at,
        "reason": reason.value if reason is not None else None,
        "detail": getattr(event, "detail", ""),
        "updated_at": event.occurred_at,
    }


def _machine_of(event: ProvisioningStarted) -> Mapping[str, object]:
    return {
        "job_id": event.job_id,
        "sequence": event.sequence,
        "provider": event.provider,
        "gpu_type": event.gpu_type,
        "gpu_count": event.gpu_count,
    }
