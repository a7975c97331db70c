"""Errors of the api.

UserError
├── Conflict
│   ├── PlanHashDiffers, PlanBlocked, PlanStale     what was approved is not what would run
│   ├── IdempotencyKeyReused
│   ├── JobIsOver
│   └── JobNotDiagnosed
└── TooManyStreams (TooManyRequests)
"""

from collections.abc import Sequence
from datetime import timedelta

from stoker_shared.errors import Conflict, TooManyRequests


class PlanHashDiffers(Conflict):
    """The hash that was sent is not the plan's: somebody approved something else."""

    code = "plan_hash_differs"

    def __init__(self, plan_id: str) -> None:
        super().__init__(
            f"The plan {plan_id} does not have this hash.", next_step="Read the plan again and launch with its hash."
        )


class PlanBlocked(Conflict):
    """The plan has blocking faults."""

    code = "plan_blocked"

    def __init__(self, plan_id: str, *, faults: dict[str, str]) -> None:
        super().__init__(
            f"The plan {plan_id} cannot be launched: {', '.join(faults)}.",
            next_step="Mend each fault in `errors` and plan again.",
            fields=faults,
        )


class PlanStale(Conflict):
    """Something that the plan stands on has changed since it was made; `changes` says what."""

    code = "plan_stale"

    def __init__(self, plan_id: str, *, changes: Sequence[str]) -> None:
        super().__init__(
            f"The plan {plan_id} no longer holds: {'; '.join(changes)}.", next_step="Make a new plan and launch that."
        )
        self.changes = tuple(changes)


class IdempotencyKeyReused(Conflict):
    """The key stands for a launch of another plan."""

    code = "idempotency_key_reused"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"This Idempotency-Key launched the job {job_id} of another plan.",
            next_step="Send a new key for a new launch.",
        )


class JobIsOver(Conflict):
    """The job has ended; nothing can be done to it any more."""

    code = "job_is_over"

    def __init__(self, job_id: str, *, status: str) -> None:
        super().__init__(f"The job {job_id} is {status} already.", next_step="Nothing needs to be done.")


class TooManyStreams(TooManyRequests):
    """This replica serves as many event streams as it may."""

    code = "too_many_streams"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} event streams are open already.", retry_after=timedelta(seconds=5))


class JobNotDiagnosed(Conflict):
    """Nothing can be proposed: it is not known (yet) why the job failed, or it did not fail."""

    code = "job_not_diagnosed"

    def __init__(self, job_id: str, *, why: str) -> None:
        super().__init__(f"The job {job_id} has no diagnosis. {why}", next_step=f"GET /v1/jobs/{job_id}/diagnosis.")
