"""Asks provider, metrics service and dataset gateway how an attempt is. What does not answer stays unknown."""

import asyncio

from stoker_deployer.jobs.landing import LANDED
from stoker_deployer.jobs.pod_reasons import reason_of
from stoker_deployer.jobs.tables import Attempt, Job
from stoker_deployer.jobs.view import Sight, Snapshot
from stoker_deployer.providers import Gone, Machine, MachineState, Unknown
from stoker_deployer.providers.accounts import AccountMissing, Accounts
from stoker_shared.bus import RpcClient
from stoker_shared.errors import ProviderError, RemoteRefusal, ServiceUnavailable
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.logging import get_logger
from stoker_shared.rpc.dataset_gateway import LIST_ARTIFACTS, ListArtifacts
from stoker_shared.rpc.metrics import REPORT, AttemptReport, ReportRequest

logger = get_logger(__name__)


class Observer:
    """Looks at the outside world; changes nothing."""

    def __init__(self, accounts: Accounts, rpc: RpcClient) -> None:
        self._accounts = accounts
        self._rpc = rpc

    async def look(self, snapshot: Snapshot) -> Sight:
        """What is to be seen of a job in its present status."""
        job, attempt = snapshot.job, snapshot.attempt
        if job.state == JobStatus.QUEUED or attempt is None or attempt.refused_at is not None:
            return Sight()
        await self._accounts.prepare([attempt])
        if attempt.handle is None:
            return await self._look_by_name(attempt)
        if job.state == JobStatus.TERMINATING:
            return Sight(machine=await self.describe(attempt, attempt.handle))
        machine, report = await asyncio.gather(
            self.describe(attempt, attempt.handle), self.report(attempt.job_id, attempt.number)
        )
        return Sight(machine=machine, report=report, has_artifacts=await self.has_artifacts(job, attempt, report))

    async def _look_by_name(self, attempt: Attempt) -> Sight:
        try:
            provider = await self._accounts.of_attempt(attempt)
            found: list[Machine] = await provider.find(attempt.machine_name)
        except ProviderError as error:
            return Sight(machine=Unknown(error.detail))
        if not found:
            return Sight(machine=Gone())
        if len(found) > 1:
            handles = [machine.handle for machine in found]
            logger.error("several machines of one name", machine=attempt.machine_name, handles=handles)
        return Sight(machine=found[0].state, found=tuple(found))

    async def describe(self, attempt: Attempt, handle: str) -> MachineState:
        """The state of one machine of an attempt."""
        try:
            provider = await self._accounts.of_attempt(attempt)
        except AccountMissing as error:
            return Unknown(error.detail)
        return await provider.describe(handle)

    async def report(self, job_id: str, attempt: int) -> AttemptReport | None:
        """What the pod of an attempt last said; None if that cannot be told now."""
        try:
            return await self._rpc.ask(REPORT, ReportRequest(job_id=job_id, attempt=attempt))
        except (ServiceUnavailable, RemoteRefusal) as error:
            logger.warning("report not known", job_id=job_id, attempt=attempt, reason=str(error))
            return None

    async def has_artifacts(self, job: Job, attempt: Attempt, report: AttemptReport | None) -> bool | None:
        """Whether an attempt that says it has a result has stored it; None if that need not or cannot be asked."""
        if report is None or report.exit is None or attempt.succeeded_at is not None:
            return None
        if reason_of(report.exit) != EndReason.SUCCESS and report.exit.reason != LANDED:
            return None
        try:
            stored = await self._rpc.ask(
                LIST_ARTIFACTS, ListArtifacts(owner=job.owner, job_id=job.job_id, attempt=attempt.number)
            )
        except (ServiceUnavailable, RemoteRefusal) as error:
            logger.warning("artifacts not known", job_id=job.job_id, attempt=attempt.number, reason=str(error))
            return None
        # A checkpoint is something to go on from, not a result.
        return any(not artifact.name.startswith("checkpoints/") for artifact in stored.artifacts)
