"""Looks at many jobs together: one listing for each provider, one question to the metrics service for 250 attempts."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from stoker_deployer.jobs.looking import Observer
from stoker_deployer.jobs.tables import Attempt
from stoker_deployer.jobs.view import Sight, Snapshot
from stoker_deployer.providers import Alive, MachineState, Unknown
from stoker_deployer.providers.accounts import OPERATORS, Accounts
from stoker_deployer.providers.listings import Listings
from stoker_shared.bus import RpcClient
from stoker_shared.errors import ProviderError, RemoteRefusal, ServiceUnavailable
from stoker_shared.job_state import JobStatus
from stoker_shared.logging import get_logger
from stoker_shared.rpc.metrics import MOST_REPORTS, REPORTS, AttemptReport, ReportRequest, ReportsRequest

logger = get_logger(__name__)

# Questions about single jobs of one round.
_MOST_AT_ONCE = 16

Reports = Mapping[tuple[str, int], AttemptReport]
Machines = Mapping[tuple[str, int], MachineState]


class Watcher:
    """As `Observer`, for many."""

    def __init__(self, observer: Observer, *, accounts: Accounts, rpc: RpcClient, listings: Listings) -> None:
        self._observer = observer
        self._accounts = accounts
        self._rpc = rpc
        self._listings = listings
        self._at_once = asyncio.Semaphore(_MOST_AT_ONCE)

    async def look_at_all(self, snapshots: Sequence[Snapshot]) -> list[Sight]:
        """What is to be seen of each: those with a running machine together, the others one by one."""
        await self._accounts.prepare(found.attempt for found in snapshots if found.attempt)
        running = [found.attempt for found in snapshots if found.attempt and _has_running_machine(found)]
        machines, reports = await asyncio.gather(self._machines(running), self._reports(running))
        return list(await asyncio.gather(*(self._sight(snapshot, machines, reports) for snapshot in snapshots)))

    async def _sight(self, snapshot: Snapshot, machines: Machines, reports: Reports) -> Sight:
        attempt = snapshot.attempt
        if attempt is None or _key(attempt) not in machines:
            async with self._at_once:
                return await self._observer.look(snapshot)
        report = reports.get(_key(attempt))
        return Sight(
            machine=machines[_key(attempt)],
            report=report,
            has_artifacts=await self._observer.has_artifacts(snapshot.job, attempt, report),
        )

    async def _machines(self, attempts: Sequence[Attempt]) -> Machines:
        by_account: dict[tuple[str, str, int], list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            # All that were launched at the operator's account are one listing, whoever owns them.
            owner = attempt.owner if attempt.key_version != OPERATORS else ""
            by_account[attempt.provider, owner, attempt.key_version].append(attempt)
        answers = await asyncio.gather(*(self._machines_at(theirs) for theirs in by_account.values()))
        return {key: state for answer in answers for key, state in answer.items()}

    async def _machines_at(self, attempts: Sequence[Attempt]) -> Machines:
        try:
            provider = await self._accounts.of_attempt(attempts[0])
            alive = await self._listings.alive(provider)
        except ProviderError as error:
            return {_key(attempt): Unknown(error.detail) for attempt in attempts}
        states = await asyncio.gather(*(self._machine(attempt, alive) for attempt in attempts))
        return {_key(attempt): state for attempt, state in zip(attempts, states, strict=True)}

    async def _machine(self, attempt: Attempt, alive: Mapping[str, Alive]) -> MachineState:
        handle = attempt.handle or attempt.machine_name
        if handle in alive:
            return alive[handle]
        # Not in the list is not gone: only the answer for this one machine may say so.
        async with self._at_once:
            return await self._observer.describe(attempt, handle)

    async def _reports(self, attempts: Sequence[Attempt]) -> Reports:
        asked = [ReportRequest(job_id=attempt.job_id, attempt=attempt.number) for attempt in attempts]
        parts = [asked[start : start + MOST_REPORTS] for start in range(0, len(asked), MOST_REPORTS)]
        answers = await asyncio.gather(*(self._ask(part) for part in parts))
        return {(report.job_id, report.attempt): report for answer in answers for report in answer if report}

    async def _ask(self, asked: list[ReportRequest]) -> Sequence[AttemptReport | None]:
        try:
            told = await self._rpc.ask(REPORTS, ReportsRequest(attempts=asked))
        except (ServiceUnavailable, RemoteRefusal) as error:
            logger.warning("reports not known", jobs=len(asked), reason=str(error))
            return []
        return [*told.reports, *await asyncio.gather(*(self._ask_alone(exited) for exited in told.exited))]

    async def _ask_alone(self, asked: ReportRequest) -> AttemptReport | None:
        async with self._at_once:
            return await self._observer.report(asked.job_id, asked.attempt)


def _key(attempt: Attempt) -> tuple[str, int]:
    return attempt.job_id, attempt.number


def _has_running_machine(snapshot: Snapshot) -> bool:
    attempt = snapshot.attempt
    is_at_an_end = snapshot.job.state in (JobStatus.QUEUED, JobStatus.TERMINATING)
    return not is_at_an_end and attempt is not None and attempt.refused_at is None and attempt.handle is not None
