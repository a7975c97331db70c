"""SQL of storing: locking attempts, moving their rows, the count of events. In the caller's transaction."""

import json
from collections.abc import Iterable, Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.storing.loss import LossState
from stoker_metrics.storing.progress import Progress
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.rpc.metrics import ExitFacts, LossTrouble

# In order of the key, so that two batches of replicas cannot wait for each other in a circle.
_LOCK = text("""
SELECT job_id, attempt, phase, last_heard_at, last_progress_at, step, heartbeat_sequence, total_steps, seconds_left,
       tokens_per_second, landing_seconds, point_sequence, latest_values, older_values, exit_facts, phase_since,
       loss_state, loss_trouble
FROM attempt_reports
WHERE (job_id, attempt) IN (SELECT * FROM unnest(CAST(:job_ids AS text[]), CAST(:attempts AS int[])))
ORDER BY job_id, attempt
FOR UPDATE
""")
_MOVE = text("""
UPDATE attempt_reports
SET phase = :phase, last_heard_at = :last_heard_at, last_progress_at = :last_progress_at, step = :step,
    heartbeat_sequence = :heartbeat_sequence, total_steps = :total_steps, seconds_left = :seconds_left,
    tokens_per_second = :tokens_per_second, landing_seconds = :landing_seconds, point_sequence = :point_sequence,
    latest_values = CAST(:latest_values AS jsonb), older_values = CAST(:older_values AS jsonb),
    exit_facts = CAST(:exit_facts AS jsonb), phase_since = :phase_since, loss_state = CAST(:loss_state AS jsonb),
    loss_trouble = CAST(:loss_trouble AS jsonb)
WHERE job_id = :job_id AND attempt = :attempt
""")
# The row's lock also makes the outbox rows of one job commit in the order of their ids.
_COUNT = text("""
INSERT INTO pod_event_counters AS counter (job_id, last_sequence) VALUES (:job_id, 1)
ON CONFLICT (job_id) DO UPDATE SET last_sequence = counter.last_sequence + 1
RETURNING last_sequence
""")


class StoringRepository:
    """What storing a batch needs beside points, lines and alerts."""

    async def lock(self, session: AsyncSession, keys: Iterable[AttemptKey]) -> dict[AttemptKey, Progress]:
        """Lock attempts and read what is known of them; those never admitted are missing."""
        wanted = sorted(keys)
        values = {"job_ids": [job_id for job_id, _ in wanted], "attempts": [attempt for _, attempt in wanted]}
        rows = [dict(row) for row in (await session.execute(_LOCK, values)).mappings()]
        return {(row.pop("job_id"), row.pop("attempt")): _progress(row) for row in rows}

    async def move(self, session: AsyncSession, moved: Mapping[AttemptKey, Progress]) -> None:
        """Write what is known now."""
        if moved:
            await session.execute(_MOVE, [_columns(key, progress) for key, progress in sorted(moved.items(), key=_key)])

    async def next_sequence(self, session: AsyncSession, *, job_id: str) -> int:
        """The number of the next event of a job's pods."""
        return int((await session.execute(_COUNT, {"job_id": job_id})).scalar_one())


def _progress(row: dict[str, object]) -> Progress:
    facts, trouble, state = row.pop("exit_facts"), row.pop("loss_trouble"), row.pop("loss_state")
    return Progress(
        **row,  # type: ignore[arg-type]
        exit_facts=None if facts is None else ExitFacts.model_validate(facts),
        loss_trouble=None if trouble is None else LossTrouble.model_validate(trouble),
        loss_state=LossState(**state),  # type: ignore[arg-type]
    )


def _columns(key: AttemptKey, progress: Progress) -> dict[str, object]:
    job_id, attempt = key
    plain = {name: getattr(progress, name) for name in Progress.__slots__}
    facts, trouble = progress.exit_facts, progress.loss_trouble
    return {
        **plain,
        "job_id": job_id,
        "attempt": attempt,
        "latest_values": json.dumps(progress.latest_values),
        "older_values": json.dumps(progress.older_values),
        "exit_facts": None if facts is None else facts.model_dump_json(),
        "loss_state": json.dumps(progress.loss_state._asdict()),
        "loss_trouble": None if trouble is None else trouble.model_dump_json(),
    }


def _key(item: tuple[AttemptKey, Progress]) -> AttemptKey:
    return item[0]
