"""Reading and cancelling jobs."""

from datetime import timedelta
from uuid import uuid4

from stoker_api.errors import JobIsOver
from stoker_api.jobs.causes import cause_of
from stoker_api.jobs.queue import with_queue
from stoker_api.jobs.repository import JobRepository
from stoker_api.jobs.schemas import Job, Progress
from stoker_api.jobs.tables import JobViewRow
from stoker_api.jobs.views import bill_of, job_of
from stoker_shared.bus import RpcClient
from stoker_shared.clock import Clock
from stoker_shared.commands import CancelJob
from stoker_shared.database import Database
from stoker_shared.errors import NotFound, RemoteRefusal, ServiceUnavailable
from stoker_shared.job_state import MACHINE_STATUSES, JobStatus
from stoker_shared.outbox import Relay, enqueue
from stoker_shared.rpc.metrics import REPORT, AttemptReport, ReportRequest

# A cancel that is asked for again after this long is sent again, in case the first came to nothing.
CANCEL_AGAIN_AFTER = timedelta(seconds=30)


class JobService:
    """An owner's jobs."""

    def __init__(self, database: Database, *, relay: Relay, rpc: RpcClient, clock: Clock) -> None:
        self._database = database
        self._relay = relay
        self._rpc = rpc
        self._clock = clock
        self._rows = JobRepository()

    async def get(self, owner: str, job_id: str) -> Job:
        """One job without its progress.

        Raises:
            NotFound: there is none of this owner.
        """
        return job_of(await self._row(owner, job_id), now=self._clock.now())

    async def launched_under(self, owner: str, idempotency_key: str) -> Job | None:
        """The job that this key launched, if it did."""
        async with self._database.transaction() as session:
            row = await self._rows.find_by_key(session, owner=owner, idempotency_key=idempotency_key)
        return None if row is None else job_of(row, now=self._clock.now())

    async def get_in_full(self, owner: str, job_id: str) -> Job:
        """One job, what its machine last said if it may have one, and what providers have billed.

        Raises:
            NotFound: there is none of this owner.
        """
        job = await self.get(owner, job_id)
        if job.status == JobStatus.QUEUED:
            return (await with_queue(self._rpc, owner, [job]))[0]
        job = await self._with_bills(job)
        if job.status == JobStatus.FAILED:
            return job.model_copy(update={"diagnosed": await cause_of(self._rpc, owner, job.job_id)})
        if job.status not in MACHINE_STATUSES or job.attempt == 0:
            return job
        return job.model_copy(update={"progress": await self._progress(job)})

    async def newest(self, owner: str, *, status: JobStatus | None, before: str | None, limit: int) -> list[Job]:
        """The newest jobs, older than `before` if it is given."""
        async with self._database.transaction() as session:
            rows = await self._rows.newest(session, owner=owner, status=status, before=before, limit=limit)
        return await with_queue(self._rpc, owner, [job_of(row, now=self._clock.now()) for row in rows])

    async def cancel(self, owner: str, job_id: str) -> Job:
        """Have the job ended and its machine released. Asking twice is asking once.

        Raises:
            NotFound: there is none of this owner.
            JobIsOver: it has ended.
        """
        now = self._clock.now()
        command = CancelJob(event_id=uuid4(), occurred_at=now, job_id=job_id, requested_by=owner, why="asked by user")
        async with self._database.transaction() as session:
            is_asked = await self._rows.request_cancel(
                session, owner=owner, job_id=job_id, now=now, again_before=now - CANCEL_AGAIN_AFTER
            )
            if is_asked:
                await enqueue(session, command)
        if is_asked:
            self._relay.wake()
        job = await self.get(owner, job_id)
        if job.is_over and not is_asked:
            raise JobIsOver(job_id, status=job.status.value)
        return job

    async def _with_bills(self, job: Job) -> Job:
        async with self._database.transaction() as session:
            bills = await self._rows.bills(session, job_id=job.job_id)
        return job.model_copy(update={"bills": [bill_of(event) for event in bills]})

    async def _row(self, owner: str, job_id: str) -> JobViewRow:
        async with self._database.transaction() as session:
            row = await self._rows.find(session, owner=owner, job_id=job_id)
        if row is None:
            raise NotFound("job", job_id, next_step="GET /v1/jobs lists yours.")
        return row

    async def _progress(self, job: Job) -> Progress:
        try:
            report = await self._rpc.ask(REPORT, ReportRequest(job_id=job.job_id, attempt=job.attempt))
        except (ServiceUnavailable, RemoteRefusal) as error:
            return Progress(is_available=False, detail=error.detail)
        return _progress_of(report)


def _progress_of(report: AttemptReport) -> Progress:
    return Progress(
        is_available=True,
        detail="" if report.last_heard_at else "The machine has not reported yet.",
        phase=report.phase,
        step=report.step,
        total_steps=report.total_steps,
        seconds_left=report.seconds_left,
        tokens_per_second=report.tokens_per_second,
        latest_values=report.latest_values,
        last_heard_at=report.last_heard_at,
    )
