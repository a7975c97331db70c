"""Rules of attempts: admission, revocation, what a pod last said, who may look."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stoker_metrics.attempts.repository import AttemptRepository
from stoker_metrics.attempts.schemas import Standing
from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.attempts.standings import Standings
from stoker_metrics.attempts.tables import AttemptReportRow
from stoker_metrics.errors import AttemptOfAnother, AttemptOver, SilenceUnproven, TokenInUse
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import NotFound, ServiceUnavailable
from stoker_shared.rpc.contract import Empty
from stoker_shared.rpc.dataset_gateway import RevokeAttempt
from stoker_shared.rpc.metrics import (
    AdmitAttempt,
    AttemptReport,
    AttemptReports,
    ExitFacts,
    OrderAttempt,
    ReportRequest,
    ReportsRequest,
)


class Attempts:
    """What the metrics service answers about attempts."""

    def __init__(self, database: Database, *, standings: Standings, hearing: Hearing, clock: Clock) -> None:
        self._database = database
        self._standings = standings
        self._hearing = hearing
        self._clock = clock
        self._rows = AttemptRepository()

    async def admit(self, request: AdmitAttempt) -> Empty:
        """Accept reports of this attempt under this token. The same call again changes nothing.

        Raises:
            AttemptOver: the attempt was revoked.
            AttemptOfAnother: it was admitted for another owner.
            TokenInUse: the token belongs to another attempt.
        """
        now = self._clock.now()
        async with self._changing() as changed, self._database.transaction() as session:
            known = await self._rows.enter(session, request=request, now=now)
            if known.is_revoked:
                raise AttemptOver(request.job_id, request.attempt)
            if known.owner != request.owner:
                raise AttemptOfAnother(request.job_id, request.attempt)
            if not await self._rows.add_token(session, request=request, now=now):
                raise TokenInUse(request.job_id, request.attempt)
            changed.append(await self._rows.standing(session, job_id=request.job_id, attempt=request.attempt))
        return Empty()

    async def revoke(self, request: RevokeAttempt) -> Empty:
        """End an attempt: from now on its tokens are refused. An unknown attempt is no error."""
        async with self._changing() as changed, self._database.transaction() as session:
            await self._rows.revoke(session, job_id=request.job_id, attempt=request.attempt, now=self._clock.now())
            changed.append(await self._rows.standing(session, job_id=request.job_id, attempt=request.attempt))
        return Empty()

    async def order(self, request: OrderAttempt) -> Empty:
        """Tell the pod something with every answer from now on; also of other replicas.

        Raises:
            NotFound: no such attempt was admitted.
        """
        async with self._changing() as changed, self._database.transaction() as session:
            if not await self._rows.order(session, request=request):
                raise NotFound("attempt", f"{request.job_id}-{request.attempt}")
            changed.append(await self._rows.standing(session, job_id=request.job_id, attempt=request.attempt))
        return Empty()

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[list[Standing]]:
        """Every replica counts what the transaction within leaves in the list."""
        changed: list[Standing] = []
        try:
            yield changed
        except ServiceUnavailable:
            # A connection that breaks in the commit may have committed.
            self._standings.doubt()
            raise
        for standing in changed:
            await self._standings.changed(standing)

    async def report(self, request: ReportRequest) -> AttemptReport:
        """What the pod last said; empty for one that has not spoken.

        Raises:
            SilenceUnproven: the pod was not heard lately, but neither could this service hear.
        """
        async with self._database.transaction() as session:
            row = await self._rows.report(session, job_id=request.job_id, attempt=request.attempt)
        report = self._tell(request, row)
        if report is None:
            raise SilenceUnproven(request.job_id, request.attempt)
        return report

    async def reports(self, request: ReportsRequest) -> AttemptReports:
        """What the pods of many attempts last said. One whose silence is not proven is left out."""
        asked = [(wanted.job_id, wanted.attempt) for wanted in request.attempts]
        async with self._database.transaction() as session:
            rows = await self._rows.reports(session, asked)
        told = [self._tell(wanted, rows.get((wanted.job_id, wanted.attempt))) for wanted in request.attempts]
        known = [report for report in told if report is not None]
        return AttemptReports(
            reports=[report for report in known if report.exit is None],
            exited=[ReportRequest(job_id=found.job_id, attempt=found.attempt) for found in known if found.exit],
        )

    def _tell(self, request: ReportRequest, row: AttemptReportRow | None) -> AttemptReport | None:
        if row is None:
            return AttemptReport(job_id=request.job_id, attempt=request.attempt)
        has_left = row.exit_facts is not None or row.revoked_at is not None
        if row.last_heard_at and not has_left and not self._hearing.proves_silence(row.last_heard_at):
            return None
        return _report(row)

    async def check_owner(self, *, job_id: str, owner: str) -> None:
        """Whether `owner` may look at a job; one that was not admitted yet has nothing to hide.

        Raises:
            NotFound: the job is somebody else's.
        """
        async with self._database.transaction() as session:
            known = await self._rows.owner(session, job_id=job_id)
        if known not in {None, owner}:
            raise NotFound("job", job_id)


def _report(row: AttemptReportRow) -> AttemptReport:
    fields = row.model_dump(include=set(AttemptReport.model_fields))
    return AttemptReport(**fields, exit=ExitFacts(**row.exit_facts) if row.exit_facts else None)
