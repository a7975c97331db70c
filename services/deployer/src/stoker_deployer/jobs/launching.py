"""Asks for the machine of an attempt: tokens first, then the provider, once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from stoker_deployer.jobs.admitting import Admission, Admitter
from stoker_deployer.jobs.environment import PublicUrls, pod_environment
from stoker_deployer.jobs.running import cannot_ask
from stoker_deployer.jobs.steps import BeginTermination, Change, RecordMachine, Wait
from stoker_deployer.jobs.tables import Attempt
from stoker_deployer.jobs.view import View
from stoker_deployer.pipeline.claims import Claim
from stoker_deployer.pods.commands import PodCommands, Stay
from stoker_deployer.providers import MachineOrder, Provider, RunsContainers
from stoker_deployer.providers.accounts import AccountMissing, Accounts
from stoker_deployer.providers.hub import HUB_URL
from stoker_deployer.retrying.refit import DeviceBatch
from stoker_shared.clock import Clock
from stoker_shared.errors import (
    AuthFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    RateLimited,
    RemoteRefusal,
    ServiceUnavailable,
    UserError,
)
from stoker_shared.job_state import EndReason
from stoker_shared.logging import get_logger
from stoker_shared.trace import Attributes, job_traceparent, span

logger = get_logger(__name__)

REFUSALS: dict[type[ProviderError], EndReason] = {
    NoCapacity: EndReason.NO_CAPACITY,
    AuthFailed: EndReason.PROVIDER_AUTH_FAILED,
    AccountMissing: EndReason.PROVIDER_AUTH_FAILED,
    InsufficientFunds: EndReason.PROVIDER_FUNDS,
    InvalidRequest: EndReason.PROVIDER_REFUSED,
}
"""Answers after which it is certain that this order made no machine."""


class PodSecrets(Protocol):
    """Where the secrets are that pods may see; the vault."""

    async def pod_environment(self, owner: str, names: Sequence[str]) -> dict[str, str]:
        """Variables with the secrets of these names. Raises a `UserError` if one is not there."""


class Launcher:
    """Launches machines. Never tries twice by itself: what is unknown is looked at by the next step."""

    def __init__(
        self,
        accounts: Accounts,
        secrets: PodSecrets,
        admitter: Admitter,
        commands: PodCommands,
        *,
        urls: PublicUrls,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._secrets = secrets
        self._admitter = admitter
        self._commands = commands
        self._urls = urls
        self._clock = clock

    async def launch(self, view: View, claim: Claim) -> Change:
        """Admit the attempt, unless that has begun already, then ask the provider.

        Raises:
            ClaimLost: the lease may run out during the call; nothing was asked.
        """
        try:
            secrets = await self._secrets.pod_environment(view.job.owner, view.job.launch.secrets)
            admission = await self._admission(view, claim)
        except ServiceUnavailable as error:
            return cannot_ask(view, error.detail)
        except UserError as error:
            return BeginTermination(_refused_by(error), error.detail, has_no_machine=view.is_fresh_intent)
        environment = pod_environment(
            view.job.launch,
            attempt=view.attempt.number,
            token=admission.token,
            minted=admission.minted,
            urls=self._urls,
            batch=_batch_of(view.attempt),
            may_resume=view.attempt.may_resume,
            secrets=secrets,
        )
        try:
            provider = await self._accounts.of_attempt(view.attempt)
            order = await self._complete(_order_of(view, environment), provider, view)
        except ServiceUnavailable as error:
            return cannot_ask(view, error.detail)
        except RemoteRefusal as error:
            return BeginTermination(EndReason.PLAN_REFUSED, error.detail, has_no_machine=view.is_fresh_intent)
        except ProviderError as error:
            return self._refused(view, error)
        return await self._ask(provider, order, view=view, claim=claim)

    async def _admission(self, view: View, claim: Claim) -> Admission:
        # Good for one attempt: the claim goes on to the next one if this one is refused.
        begun, claim.admission = claim.admission, None
        if view.is_fresh_intent and begun is not None:
            return await begun
        return await self._admitter.admit(view.job.launch, attempt=view.attempt.number)

    async def _complete(self, order: MachineOrder, provider: Provider, view: View) -> MachineOrder:
        """With what a bare container needs, where the provider rents out those."""
        if not isinstance(provider, RunsContainers):
            return order
        command = await self._commands.command(provider.release, _stay_of(view))
        mirror = {} if provider.hub_url == HUB_URL else {"HF_ENDPOINT": provider.hub_url}
        return replace(order, command=command.line, environment={**mirror, **order.environment, **command.environment})

    async def _ask(self, provider: Provider, order: MachineOrder, *, view: View, claim: Claim) -> Change:
        claim.ensure(now=self._clock.now(), needs=provider.launch_timeout)
        try:
            with span("order machine", parent=job_traceparent(view.job.job_id), attributes=_told_of(view.attempt)):
                return RecordMachine(await provider.launch(order))
        except RateLimited as error:
            return Wait(error.retry_after or view.policy.failed_check_max, error.detail, has_failed=True)
        except ProviderError as error:
            return self._refused(view, error)

    def _refused(self, view: View, error: ProviderError) -> Change:
        logger.warning("launch not confirmed", machine=view.attempt.machine_name, code=error.code, reason=error.detail)
        if reason := next((reason for kind, reason in REFUSALS.items() if isinstance(error, kind)), None):
            # An earlier order of this attempt may have made one: then it is looked for.
            return BeginTermination(
                reason, error.detail, has_no_machine=view.is_fresh_intent, refused_at=self._clock.now()
            )
        # Unknown is never taken for no: look for the machine by its name.
        return Wait(timedelta(0), error.detail, noted={"absent_since": None})


def _order_of(view: View, environment: Mapping[str, str]) -> MachineOrder:
    attempt, launch = view.attempt, view.job.launch
    return MachineOrder(
        name=attempt.machine_name,
        gpu_type=attempt.gpu_type,
        gpu_count=attempt.gpu_count,
        place=attempt.place,
        image=launch.docker_image,
        volume_size_gb=launch.volume_size_gb,
        environment=environment,
    )


def _stay_of(view: View) -> Stay:
    launch = view.job.launch
    return Stay(
        longest=max(timedelta(seconds=view.job.max_duration_seconds) - view.snapshot.ran_before, timedelta(0)),
        keep_alive=timedelta(seconds=launch.keep_alive_seconds),
        disk_needed_bytes=launch.disk_needed_bytes,
    )


def _batch_of(attempt: Attempt) -> DeviceBatch | None:
    if attempt.per_device is None or attempt.accumulation is None:
        return None
    return DeviceBatch(attempt.per_device, attempt.accumulation)


def _told_of(attempt: Attempt) -> Attributes:
    return {
        "stoker.attempt": attempt.number,
        "stoker.provider": attempt.provider,
        "stoker.gpu_type": attempt.gpu_type,
        "stoker.gpu_count": attempt.gpu_count,
    }


def _refused_by(error: UserError) -> EndReason:
    if not isinstance(error, RemoteRefusal):
        return EndReason.PLAN_REFUSED  # a secret that the launch asks for is not set
    is_dataset = error.remote_code in ("not_found", "gone", "conflict") or error.remote_status in (404, 409, 410)
    return EndReason.DATASET_UNREADABLE if is_dataset else EndReason.TOKEN_REJECTED
