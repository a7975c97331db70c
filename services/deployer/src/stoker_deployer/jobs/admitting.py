"""Admits an attempt where its pod will report and fetch: the dataset gateway and the metrics service."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr

from stoker_shared.bus import RpcClient
from stoker_shared.clock import Clock
from stoker_shared.commands import LaunchJob
from stoker_shared.rpc import dataset_gateway, metrics
from stoker_shared.tokens import mint_token, token_hash
from stoker_shared.trace import job_traceparent, span


@dataclass(frozen=True, slots=True)
class Admission:
    """What an attempt is admitted with: its job token, and where its dataset is."""

    token: SecretStr
    minted: dataset_gateway.DownloadMinted


class Admitter:
    """Each admission adds tokens; all of them end with the attempt, or by themselves."""

    def __init__(
        self, rpc: RpcClient, *, job_token_lifetime: timedelta, download_lifetime: timedelta, clock: Clock
    ) -> None:
        self._rpc = rpc
        self._job_token_lifetime = job_token_lifetime
        self._download_lifetime = download_lifetime
        self._clock = clock

    def begin(self, launch: LaunchJob, *, attempt: int) -> asyncio.Task[Admission]:
        """Begin to admit an attempt whose intent is just being stored. Nobody need wait for it."""
        task = asyncio.create_task(self.admit(launch, attempt=attempt), name=f"admit {launch.job_id}")
        # Seen by whoever awaits the task; if nobody does, asyncio would report it as forgotten.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return task

    async def admit(self, launch: LaunchJob, *, attempt: int) -> Admission:
        """Admit an attempt at gateway and metrics at the same time, under a new job token.

        Raises:
            ServiceUnavailable: one of them does not answer; whether it admitted is unknown.
            RemoteRefusal: one of them refused.
        """
        token = mint_token()
        sha256 = token_hash(token)
        expires_at = self._clock.now() + self._job_token_lifetime + timedelta(seconds=launch.max_duration_seconds)
        mint = dataset_gateway.MintDownload(
            job_id=launch.job_id,
            attempt=attempt,
            owner=launch.owner,
            dataset_version_id=launch.dataset_version_id,
            job_token_sha256=sha256,
            download_lifetime_seconds=int(self._download_lifetime.total_seconds()),
            job_token_expires_at=expires_at,
        )
        admit = metrics.AdmitAttempt(
            job_id=launch.job_id, attempt=attempt, owner=launch.owner, job_token_sha256=sha256, expires_at=expires_at
        )
        # Both are awaited to their end: a call that is left alone could still admit after a revoke.
        with span("admit attempt", parent=job_traceparent(launch.job_id), attributes={"stoker.attempt": attempt}):
            minted, admitted = await asyncio.gather(
                self._rpc.ask(dataset_gateway.MINT, mint), self._rpc.ask(metrics.ADMIT, admit), return_exceptions=True
            )
        if isinstance(minted, BaseException):
            raise minted
        if isinstance(admitted, BaseException):
            raise admitted
        return Admission(token, minted)
