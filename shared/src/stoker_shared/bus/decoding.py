"""From the bytes of a message to its class."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stoker_shared.errors import MessageInvalid

Decode = Callable[[bytes, str], Any]
"""From body and subject to a message. Raises MessageInvalid."""


def decoder(message_type: Any) -> Decode:
    """How messages of a consumer are read.

    `message_type` is a message class, a union of them, or a mapping to a class from the last token of the subject,
    which is quicker than a union that has no field to tell its members apart.
    """
    if not isinstance(message_type, Mapping):
        adapter: TypeAdapter[Any] = TypeAdapter(message_type)
        return lambda body, subject: _decode(adapter, body, subject)
    adapters: dict[str, TypeAdapter[Any]] = {kind: TypeAdapter(named) for kind, named in message_type.items()}

    def decode(body: bytes, subject: str) -> Any:
        kind = subject.rpartition(".")[2]
        if kind not in adapters:
            raise MessageInvalid(f"The message on {subject} is of a kind that nobody here knows.")
        return _decode(adapters[kind], body, subject)

    return decode


def _decode(adapter: TypeAdapter[Any], body: bytes, subject: str) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5])
        raise MessageInvalid(f"The message on {subject} does not have the form it should: {faults}.") from error
