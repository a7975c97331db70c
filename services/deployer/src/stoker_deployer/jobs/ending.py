"""Ends what an attempt has outside: its training, its machine and its tokens."""

import asyncio
from dataclasses import replace

from stoker_deployer.jobs.landing import look_in_time
from stoker_deployer.jobs.running import cannot_ask
from stoker_deployer.jobs.steps import (
    BeginLanding,
    Change,
    EndAttempt,
    EndQueued,
    OrderLanding,
    RecordMachine,
    TerminateMachine,
    Wait,
)
from stoker_deployer.jobs.view import View
from stoker_deployer.providers import Bills
from stoker_deployer.providers.accounts import AccountMissing, Accounts
from stoker_shared.bus import RpcClient
from stoker_shared.errors import ProviderError, RemoteRefusal, ServiceUnavailable
from stoker_shared.logging import get_logger
from stoker_shared.rpc import dataset_gateway, metrics
from stoker_shared.trace import job_traceparent, span

logger = get_logger(__name__)

_WORTH_A_WARNING = 5


class Closer:
    """Terminates machines and revokes tokens. Both may be repeated any number of times."""

    def __init__(self, accounts: Accounts, rpc: RpcClient) -> None:
        self._accounts = accounts
        self._rpc = rpc

    async def terminate(self, view: View, step: TerminateMachine) -> Change:
        """Ask the provider to release the machine; whether it is gone is seen by the next look."""
        attempt = view.attempt
        calls = attempt.terminate_calls + 1
        if calls >= _WORTH_A_WARNING:
            logger.warning("machine is not gone yet", machine=attempt.machine_name, handle=attempt.handle, calls=calls)
        try:
            provider = await self._accounts.of_attempt(attempt)
            with span("end machine", parent=job_traceparent(view.job.job_id), attributes={"stoker.calls": calls}):
                await provider.terminate(attempt.handle or attempt.machine_name)
        except ProviderError as error:
            return Wait(
                max(step.after, view.policy.terminate_retry),
                error.detail,
                noted={"terminate_calls": calls},
                has_failed=True,
            )
        return Wait(step.after, "the machine is being released", noted={"terminate_calls": calls})

    async def order_landing(self, view: View, step: OrderLanding) -> Change:
        """Have the metrics service tell the trainer to land with its next answer; the same order may be given again."""
        control = metrics.Control(action="land", reason=step.why, deadline=step.deadline)
        order = metrics.OrderAttempt(job_id=view.job.job_id, attempt=view.attempt.number, control=control)
        try:
            await self._rpc.ask(metrics.ORDER, order)
        except (ServiceUnavailable, RemoteRefusal) as error:
            return look_in_time(view, cannot_ask(view, error.detail))
        return BeginLanding(step.why, step.deadline, step.detail)

    async def terminate_surplus(self, view: View, step: RecordMachine) -> Change:
        """Release further machines of one name before the kept one is recorded."""
        try:
            provider = await self._accounts.of_attempt(view.attempt)
            await asyncio.gather(*(provider.terminate(machine.handle) for machine in step.surplus))
        except ProviderError as error:
            return cannot_ask(view, error.detail)
        return RecordMachine(step.machine)

    async def revoke(self, view: View, step: EndAttempt) -> Change:
        """End the attempt's tokens at both services that pods speak to; only then is the attempt over."""
        revoked = dataset_gateway.RevokeAttempt(
            job_id=view.job.job_id, attempt=view.attempt.number, another_follows=step.retry_at is not None
        )
        try:
            await asyncio.gather(self._rpc.ask(dataset_gateway.REVOKE, revoked), self._rpc.ask(metrics.REVOKE, revoked))
        except ServiceUnavailable as error:
            return cannot_ask(view, error.detail)
        return replace(step, is_billed=await self._is_billed(view))

    async def tell_end(self, view: View, step: EndQueued) -> Change:
        """Say that no attempt follows after all: the gateway need not keep checkpoints for one."""
        over = dataset_gateway.RevokeAttempt(job_id=view.job.job_id, attempt=view.attempt.number)
        try:
            await self._rpc.ask(dataset_gateway.REVOKE, over)
        except ServiceUnavailable as error:
            return cannot_ask(view, error.detail)
        return step

    async def _is_billed(self, view: View) -> bool:
        attempt = view.attempt
        if attempt.handle is None or attempt.billing_started_at is None:
            return False
        try:
            return isinstance(await self._accounts.of_attempt(attempt), Bills)
        except AccountMissing:
            return False
