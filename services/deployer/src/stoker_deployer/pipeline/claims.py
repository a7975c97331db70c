"""A claim: the right to change one job, until its lease runs out."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from stoker_deployer.jobs.admitting import Admission
from stoker_deployer.jobs.errors import ClaimLost
from stoker_deployer.jobs.view import Snapshot, View


@dataclass(slots=True, eq=False)
class Claim:
    """`token` fences every write. `expires_at` moves while the heartbeater renews the lease.

    `fresh` is set if this very claim has just committed the intent of an attempt: its first step needs no look.
    `admission`: that attempt, and no later one, is being admitted already. `view`: what was seen under this claim and
    led to no step yet. `is_urgent`: somebody woke the job.
    """

    job_id: str
    token: UUID
    expires_at: datetime
    fresh: Snapshot | None = None
    admission: asyncio.Task[Admission] | None = None
    view: View | None = None
    is_urgent: bool = False
    is_lost: bool = False

    def ensure(self, *, now: datetime, needs: timedelta) -> None:
        """Make sure that nobody else can get the job for as long as a call takes.

        Raises:
            ClaimLost: the lease may run out while the call is under way.
        """
        if self.is_lost or self.expires_at - now < needs:
            raise ClaimLost(self.job_id)
