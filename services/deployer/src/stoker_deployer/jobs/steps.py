"""What can be done next with a job. One look leads to one step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from stoker_deployer.providers import Machine
from stoker_deployer.retrying.refit import DeviceBatch
from stoker_shared.commands import PlannedOffer
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import MicroUsd

LandingWhy = Literal["budget", "duration"]
"""What runs out."""


@dataclass(frozen=True, slots=True)
class Wait:
    """No transition. Note what was seen in the attempt's row and look again after `after` (0: at once)."""

    after: timedelta
    why: str
    noted: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the attempt."""
    postponed_to: datetime | None = None
    """A queued job is not due before, and stands in nobody's way."""
    has_failed: bool = False
    """Somebody who should have been asked did not answer; the pauses grow."""


@dataclass(frozen=True, slots=True)
class BeginAttempt:
    """queued -> provisioning: store the intent and the reservation."""

    number: int
    offer: PlannedOffer
    reservation: MicroUsd
    batch: DeviceBatch
    least: MicroUsd
    """If the budgets have less than this by then, the attempt does not begin."""
    may_resume: bool = True
    """It goes on from the job's last checkpoint, if there is one."""


@dataclass(frozen=True, slots=True)
class LaunchMachine:
    """Ask the provider for the attempt's machine. Only when it is certain that there is none."""


@dataclass(frozen=True, slots=True)
class RecordMachine:
    """A machine of the attempt's name exists: keep it. `surplus` are further ones of that name, to be terminated."""

    machine: Machine
    surplus: tuple[Machine, ...] = ()


@dataclass(frozen=True, slots=True)
class EnterPhase:
    """The pod is further than the row says."""

    status: JobStatus


@dataclass(frozen=True, slots=True)
class OrderLanding:
    """Have the trainer told to store what it has and to stop before the deadline."""

    why: LandingWhy
    deadline: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BeginLanding:
    """The order to land stands: no other status, but an event, and the attempt ends with another reason."""

    why: LandingWhy
    deadline: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BeginTermination:
    """-> terminating: the attempt is over; the reason stands from here on."""

    reason: EndReason
    detail: str = ""
    has_no_machine: bool = False
    """It is certain that none was made, so none needs to be looked for."""
    refused_at: datetime | None = None
    """When the provider said so, which is later than the look."""


@dataclass(frozen=True, slots=True)
class TerminateMachine:
    """Ask the provider (again) to release the machine, then look after `after`."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """terminating -> an end, or queued if `retry_at` is set. Tokens are revoked before, the ledger settled with it."""

    status: JobStatus
    reason: EndReason
    detail: str = ""
    retry_at: datetime | None = None
    is_billed: bool = False
    """The provider will tell what it charges."""


@dataclass(frozen=True, slots=True)
class TellStall:
    """No transition: tell that the machine does not go."""

    detail: str


@dataclass(frozen=True, slots=True)
class EndQueued:
    """queued -> an end. No machine was ever asked for since the job was queued."""

    reason: EndReason
    detail: str = ""


Deed = LaunchMachine | TerminateMachine | OrderLanding
"""Steps that call the outside world and lead to a change."""

Change = (
    Wait
    | BeginAttempt
    | RecordMachine
    | EnterPhase
    | BeginLanding
    | BeginTermination
    | EndAttempt
    | TellStall
    | EndQueued
)
"""Steps that are applied in one transaction."""

Step = Deed | Change
