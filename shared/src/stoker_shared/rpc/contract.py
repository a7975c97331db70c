"""What a question is: who answers, who may ask, and the two payloads."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from stoker_shared import subjects
from stoker_shared.messages import Message

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[RequestT, ResponseT]):
    """One question. The broker's permissions are derived from `service` and `callers`."""

    service: str
    verb: str
    request: type[RequestT]
    response: type[ResponseT]
    callers: tuple[str, ...]
    timeout: timedelta = timedelta(seconds=5)

    @property
    def subject(self) -> str:
        """Where the question is asked."""
        return subjects.rpc(self.service, self.verb)


class Empty(Message):
    """No fields: the call did what it says."""
