"""What passes between the layers of deliveries."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A message to be stored. `is_late`: kept, but not sent by itself."""

    owner: str
    target_id: str
    rule_id: str | None
    event_id: UUID
    type: str
    job_id: str | None
    occurred_at: datetime
    payload: str
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class SealedBox:
    """A box and the key that it was sealed with."""

    sealed: str = field(repr=False)
    key_id: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery under a claim, with what is needed to send it."""

    delivery_id: str
    token: UUID
    target_id: str
    owner: str
    kind: str
    type: str
    payload: str
    failed_attempts: int
    address: SealedBox
    signing: tuple[SealedBox, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended. `status` None: no answer. `retry_after`: as the receiver wrote it."""

    is_delivered: bool
    status: int | None = None
    error: str = ""
    retry_after: str | None = None


Verdict = Literal["delivered", "again", "failed", "gone"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is written after an attempt."""

    verdict: Verdict
    outcome: Outcome
    at: datetime
    took: timedelta
    next_attempt_at: datetime | None = None
    quiet_until: datetime | None = None
