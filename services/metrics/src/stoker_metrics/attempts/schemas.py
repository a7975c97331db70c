"""What passes between the layers of `attempts`."""

from dataclasses import dataclass

from pydantic import AwareDatetime

from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Message
from stoker_shared.rpc.metrics import Control

AttemptKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class AttemptStanding:
    """Whose attempt it is, and whether it is over."""

    owner: str | None
    is_revoked: bool


class Standing(Message):
    """What an attempt's tokens open, and what its pod is to be told. Travels in the bucket `JOB_STANDINGS`.

    `version` rises with each change. `tokens`: from the SHA-256 of each to the moment at which it ends.
    """

    job_id: Identifier
    attempt: int
    version: int
    is_revoked: bool
    control: Control
    tokens: dict[str, AwareDatetime]

    @property
    def key(self) -> AttemptKey:
        """Job and attempt."""
        return self.job_id, self.attempt
