"""Applies a change: guarded update, attempt, ledger and event in one transaction. No network call here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.jobs.accruing import accrue, costs_money, is_accrual_due, lacks_cover
from stoker_deployer.jobs.announcing import PHASE_EVENTS, Aftermath, tell
from stoker_deployer.jobs.covering import WAITS_FOR_BUDGET
from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.jobs.steps import (
    BeginAttempt,
    BeginLanding,
    BeginTermination,
    Change,
    EndAttempt,
    EndQueued,
    EnterPhase,
    RecordMachine,
    TellStall,
    Wait,
)
from stoker_deployer.jobs.tables import Attempt, machine_name
from stoker_deployer.jobs.view import Snapshot, View
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.providers import Gone
from stoker_deployer.providers.accounts import OPERATORS
from stoker_deployer.queue.slots import Slots
from stoker_deployer.retrying.repository import CooldownRepository
from stoker_deployer.retrying.tables import key_of
from stoker_shared.events import (
    JobCancelled,
    JobCompleted,
    JobEvent,
    JobFailed,
    JobRequeued,
    LandingStarted,
    MachineProvisioned,
    ProvisioningStarted,
    TerminationStalled,
    TerminationStarted,
)
from stoker_shared.job_state import EndReason, JobStatus, may_follow
from stoker_shared.money import MicroUsd
from stoker_shared.outbox import enqueue

_END_EVENTS: dict[JobStatus, type[JobEvent]] = {
    JobStatus.COMPLETED: JobCompleted,
    JobStatus.FAILED: JobFailed,
    JobStatus.CANCELLED: JobCancelled,
}
_UNLOCKED: dict[str, Any] = {"lock_token": None, "lock_owner": None, "lock_expires_at": None}
_DETAIL_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a claim. `released_until` None: it is still held. `fresh`: it has just begun this attempt.

    `noted`: the job as it stands after a change that did nothing outside, so that what was seen before still holds.
    """

    released_until: datetime | None = None
    has_ended: bool = False
    fresh: Snapshot | None = None
    noted: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class _Transition:
    status: JobStatus
    event: type[JobEvent]
    job: Mapping[str, Any]
    attempt: Mapping[str, Any]
    fields: Mapping[str, Any]


class Applier:
    """Writes changes. `slots` decides which jobs may own machines."""

    def __init__(self, jobs: JobRepository, ledger: LedgerRepository, slots: Slots) -> None:
        self._jobs = jobs
        self._ledger = ledger
        self._slots = slots
        self._cooldowns = CooldownRepository()
        self._handlers: dict[type[Change], Callable[..., Awaitable[Applied]]] = {
            Wait: self._wait,
            BeginAttempt: self._begin_attempt,
            RecordMachine: self._record_machine,
            EnterPhase: self._enter_phase,
            BeginLanding: self._begin_landing,
            BeginTermination: self._begin_termination,
            EndAttempt: self._end_attempt,
            TellStall: self._tell_stall,
            EndQueued: self._end_queued,
        }

    async def apply(self, session: AsyncSession, change: Change, view: View, *, token: UUID) -> Applied:
        """Write one change in the caller's transaction.

        Raises:
            ClaimLost: the job is no longer what the view says; roll back.
        """
        return await self._handlers[type(change)](session, change, view, token=token)

    async def _enter_phase(self, session: AsyncSession, change: EnterPhase, view: View, *, token: UUID) -> Applied:
        transition = _Transition(change.status, PHASE_EVENTS[change.status], {}, {}, {})
        return Applied(noted=await self._go(session, view, transition, token=token))

    async def _begin_landing(self, session: AsyncSession, change: BeginLanding, view: View, *, token: UUID) -> Applied:
        noted = {"landing_since": view.now, "landing_why": change.why}
        fields = {"why": change.why, "deadline": change.deadline, "detail": change.detail[:_DETAIL_LENGTH]}
        transition = _Transition(view.job.state, LandingStarted, {}, noted, fields)
        await self._go(session, view, transition, token=token)
        return Applied()

    async def _wait(
        self,
        session: AsyncSession,
        change: Wait,
        view: View,
        *,
        token: UUID,
        queue: Mapping[str, Any] | None = None,
    ) -> Applied:
        is_at_once = change.after <= timedelta(0)
        if is_at_once:
            await self._jobs.move(session, view.job, token=token, values={"check_failures": 0})
            await self._note(session, view, change.noted)
            return Applied()
        until = await self._jobs.release(
            session,
            view.job,
            token=token,
            next_check_at=view.now + change.after,
            failures=view.job.check_failures + 1 if change.has_failed else 0,
            noted={**(queue or _waits_for(change, view)), **_postponed(change)},
        )
        await self._note(session, view, {**change.noted, **await self._accrue(session, view, is_due_only=True)})
        return Applied(released_until=until)

    async def _begin_attempt(self, session: AsyncSession, change: BeginAttempt, view: View, *, token: UUID) -> Applied:
        provider = change.offer.provider
        if obstacle := await self._slots.claim(session, view.job, provider=provider, now=view.now):
            wait, queue = Wait(view.policy.queued_check, obstacle), {"provider": provider, "waits_for": ""}
            return await self._wait(session, wait, view, token=token, queue=queue)
        if wait_for := await self._why_not_yet(session, change, view):
            return await self._wait(session, wait_for, view, token=token)
        attempt = _intent(change, view)
        if not await self._holds_key(session, attempt):
            changed = Wait(timedelta(0), f"the key for {provider} was changed; looking again")
            return await self._wait(session, changed, view, token=token)
        book = view.snapshot.book
        reservation = MicroUsd(max(min(change.reservation, book.free), 0))
        values = {
            "status": JobStatus.PROVISIONING.value,
            "sequence": view.job.sequence + 1,
            "attempt": change.number,
            "next_attempt_at": None,
            "check_failures": 0,
            "end_reason": None,
            "end_detail": "",
            "provider": provider,
            "waits_for": "",
        }
        await self._jobs.move(session, view.job, token=token, values=values)
        await self._jobs.add_attempt(session, attempt)
        await self._slots.take(session, view.job, now=view.now)
        book.reserve(change.number, amount=reservation, at=view.now)
        await self._ledger.save(session, book)
        earlier = tuple(past for past in (*view.snapshot.earlier, view.snapshot.attempt) if past is not None)
        begun = replace(view.snapshot, job=_changed(view.job, values), attempt=attempt, earlier=earlier)
        told = tell(
            ProvisioningStarted,
            Aftermath(begun.job, attempt, book, view.now),
            provider=attempt.provider,
            gpu_type=attempt.gpu_type,
            gpu_count=attempt.gpu_count,
            reserved_micro_usd=reservation,
            per_device=change.batch.per_device,
            accumulation=change.batch.accumulation,
            may_resume=change.may_resume,
        )
        await enqueue(session, told)
        return Applied(fresh=begun)

    async def _holds_key(self, session: AsyncSession, attempt: Attempt) -> bool:
        # From here on the key outlives the attempt, whatever its owner sets or removes.
        if not attempt.key_version:
            return True
        return await self._jobs.secrets.pin(
            session, owner=attempt.owner, name=attempt.provider, version=attempt.key_version
        )

    async def _why_not_yet(self, session: AsyncSession, change: BeginAttempt, view: View) -> Wait | None:
        # What only the database can tell, of the offer and then of the money.
        if cooling := await self._probe(session, change, view):
            soon = min(cooling, view.now + view.policy.queued_check)
            return Wait(soon - view.now, "somebody else tries this offer", postponed_to=soon)
        book = view.snapshot.book
        await self._ledger.lock(session, book, at=view.now)
        if change.least and book.free < change.least:
            return Wait(view.policy.queued_check, f"{WAITS_FOR_BUDGET}: another job took it")
        return None

    async def _probe(self, session: AsyncSession, change: BeginAttempt, view: View) -> datetime | None:
        key = key_of(change.offer)
        if key not in view.snapshot.cooldowns:
            return None
        return await self._cooldowns.probe(session, key, now=view.now, lasts=view.policy.capacity_probe)

    async def _record_machine(
        self, session: AsyncSession, change: RecordMachine, view: View, *, token: UUID
    ) -> Applied:
        kept: dict[str, Any] = {"handle": change.machine.handle, "launched_at": view.now, "absent_since": None}
        if change.machine.price_micro_usd_per_hour is not None:
            # What the provider asks counts, not what it offered when the plan was made.
            kept["price_micro_usd_per_hour"] = change.machine.price_micro_usd_per_hour
        await self._cooldowns.forget(session, key_of(view.attempt))
        if view.job.state == JobStatus.TERMINATING:
            # The machine of a launch whose outcome was unknown has turned up: it is terminated next.
            await self._jobs.move(session, view.job, token=token, values={"check_failures": 0})
            await self._note(session, view, kept)
            return Applied()
        fields = {"machine": change.machine.handle}
        transition = _Transition(JobStatus.STARTING, MachineProvisioned, {}, kept, fields)
        await self._go(session, view, transition, token=token)
        return Applied()

    async def _begin_termination(
        self, session: AsyncSession, change: BeginTermination, view: View, *, token: UUID
    ) -> Applied:
        reason, detail = change.reason, change.detail[:_DETAIL_LENGTH]
        ending = {"end_reason": reason.value, "end_detail": detail}
        noted: dict[str, Any] = {
            **ending,
            "absent_since": None,
            "exited_since": None,
            "terminating_since": view.now,
        }
        if change.has_no_machine:
            noted["refused_at"] = change.refused_at or view.now
        if reason == EndReason.NO_CAPACITY:
            policy = view.policy
            await self._cooldowns.cool(
                session,
                key_of(view.attempt),
                why=detail,
                now=change.refused_at or view.now,
                first=policy.capacity_cooldown,
                longest=policy.capacity_cooldown_max,
            )
        if isinstance(view.sight.machine, Gone) and view.attempt.billing_started_at:
            noted["billing_ended_at"] = view.billed_until
        fields = {"reason": reason, "detail": detail}
        transition = _Transition(JobStatus.TERMINATING, TerminationStarted, ending, noted, fields)
        await self._go(session, view, transition, token=token)
        return Applied()

    async def _end_attempt(self, session: AsyncSession, change: EndAttempt, view: View, *, token: UUID) -> Applied:
        await self._slots.begin_release(session)
        is_end = change.retry_at is None
        reason, detail = change.reason, change.detail[:_DETAIL_LENGTH]
        fields: dict[str, Any] = {"reason": reason, "detail": detail}
        values: dict[str, Any] = {"end_reason": reason.value, "end_detail": detail}
        if is_end:
            values |= {**_UNLOCKED, "ended_at": view.now, "next_check_at": None}
            event: type[JobEvent] = _END_EVENTS[change.status]
        else:
            # Which provider comes next is known when the job is looked at.
            values |= {"next_attempt_at": change.retry_at, "provider": None}
            fields["next_attempt_at"] = change.retry_at
            event = JobRequeued
        started = view.attempt.billing_started_at
        noted: dict[str, Any] = {"ended_at": view.now, "billing_ended_at": view.billed_until if started else None}
        if change.is_billed:
            noted |= {"bill_state": "open", "bill_ask_at": view.now}
        view.snapshot.book.settle(view.job.attempt, total=view.cost, at=view.now)
        view.snapshot.book.release(view.job.attempt, at=view.now)
        transition = _Transition(change.status, event, values, noted, fields)
        await self._go(session, view, transition, token=token, has_settled=True)
        await self._slots.end_release(session, now=view.now)
        return Applied(has_ended=is_end)

    async def _tell_stall(self, session: AsyncSession, change: TellStall, view: View, *, token: UUID) -> Applied:
        values = {"sequence": view.job.sequence + 1}
        await self._jobs.move(session, view.job, token=token, values=values)
        noted = {**await self._accrue(session, view, is_due_only=False), "stall_told_at": view.now}
        await self._note(session, view, noted)
        after = Aftermath(_changed(view.job, values), _changed(view.attempt, noted), view.snapshot.book, view.now)
        reason = view.job.reason or EndReason.TRAINER_ERROR
        await enqueue(session, tell(TerminationStalled, after, reason=reason, detail=change.detail[:_DETAIL_LENGTH]))
        return Applied()

    async def _end_queued(self, session: AsyncSession, change: EndQueued, view: View, *, token: UUID) -> Applied:
        await self._slots.begin_release(session)
        status, detail = change.reason.ending.status, change.detail[:_DETAIL_LENGTH]
        values = {
            **_UNLOCKED,
            "end_reason": change.reason.value,
            "end_detail": detail,
            "ended_at": view.now,
            "next_check_at": None,
        }
        transition = _Transition(status, _END_EVENTS[status], values, {}, {"reason": change.reason, "detail": detail})
        await self._go(session, view, transition, token=token, has_settled=True)
        await self._slots.end_release(session, now=view.now)
        return Applied(has_ended=True)

    async def _go(
        self, session: AsyncSession, view: View, transition: _Transition, *, token: UUID, has_settled: bool = False
    ) -> Snapshot:
        if transition.status != view.job.state and not may_follow(view.job.state, transition.status):
            raise ValueError(f"{view.job.job_id} cannot go from {view.job.status} to {transition.status}")
        values = {
            "status": transition.status.value,
            "sequence": view.job.sequence + 1,
            "check_failures": 0,
            **transition.job,
        }
        await self._jobs.move(session, view.job, token=token, values=values)
        accrued = {} if has_settled else await self._accrue(session, view, is_due_only=False)
        await self._ledger.save(session, view.snapshot.book)
        noted = {**accrued, **transition.attempt}
        await self._note(session, view, noted)
        attempt = _changed(view.snapshot.attempt, noted) if view.snapshot.attempt else None
        after = Aftermath(_changed(view.job, values), attempt, view.snapshot.book, view.now)
        await enqueue(session, tell(transition.event, after, **transition.fields))
        return replace(view.snapshot, job=after.job, attempt=attempt)

    async def _note(self, session: AsyncSession, view: View, values: Mapping[str, Any]) -> None:
        if view.snapshot.attempt is not None:
            await self._jobs.note(session, view.snapshot.attempt, values)

    async def _accrue(self, session: AsyncSession, view: View, *, is_due_only: bool) -> dict[str, Any]:
        if not costs_money(view) or (is_due_only and not is_accrual_due(view)):
            return {}
        if lacks_cover(view):
            await self._ledger.lock(session, view.snapshot.book, at=view.now)
        accrue(view.snapshot.book, view)
        await self._ledger.save(session, view.snapshot.book)
        ended = getattr(view.sight.machine, "ended_at", None)
        return {
            "accrued_at": view.now,
            "billing_ended_at": view.machine_ended_at if ended else view.attempt.billing_ended_at,
        }


def _waits_for(change: Wait, view: View) -> dict[str, Any]:
    return {"waits_for": change.why[:_DETAIL_LENGTH]} if view.job.state == JobStatus.QUEUED else {}


def _postponed(change: Wait) -> dict[str, Any]:
    return {"next_attempt_at": change.postponed_to} if change.postponed_to else {}


def _intent(change: BeginAttempt, view: View) -> Attempt:
    offer = change.offer
    return Attempt(
        job_id=view.job.job_id,
        number=change.number,
        provider=offer.provider,
        gpu_type=offer.gpu_type,
        gpu_count=offer.gpu_count,
        place=offer.place,
        vram_bytes=offer.vram_bytes,
        per_device=change.batch.per_device,
        accumulation=change.batch.accumulation,
        may_resume=change.may_resume,
        price_micro_usd_per_hour=offer.price_micro_usd_per_hour,
        machine_name=machine_name(view.job.job_id, change.number),
        owner=view.job.owner,
        key_version=view.snapshot.keys.get(offer.provider, OPERATORS),
        intent_at=view.now,
    )


def _changed(row: Any, values: Mapping[str, Any]) -> Any:
    # A copy that no session knows, so nothing is written by touching it.
    return type(row)(**{**row.model_dump(), **values})
