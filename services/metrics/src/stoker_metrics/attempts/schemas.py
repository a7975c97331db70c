"""What passes between the layers of `attempts`."""

from dataclasses import dataclass
from datetime import datetime

from stoker_shared.rpc.metrics import Control


@dataclass(frozen=True, slots=True)
class AttemptStanding:
    """Whose attempt it is, and whether it is over."""

    owner: str | None
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a token opens, and what its pod is to be told."""

    job_id: str
    attempt: int
    expires_at: datetime
    is_revoked: bool
    control: Control
