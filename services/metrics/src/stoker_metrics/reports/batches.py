"""The quick way through the reports that come often, points and lines: read once, written once for the broker.

It takes what a trainer of ours sends and declines the rest (NaN, other forms of a time, text to be cut, anything that
is wrong), which then goes the way of `schemas`, where faults are named. Both lead to the same message.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from stoker_metrics.reports.schemas import MAX_TEXT_CHARACTERS

_LARGEST = 2**53
_NUL_IN_JSON = b"\\u0000"

_Sequence = Annotated[int, Meta(ge=1, le=_LARGEST)]
_Count = Annotated[int, Meta(ge=0, le=_LARGEST)]
_Word = Annotated[str, Meta(min_length=1, max_length=200)]
_Moment = Annotated[datetime, Meta(tz=True)]


class _Point(Struct):
    sequence: _Sequence
    step: _Count
    at: _Moment
    values: Annotated[dict[_Word, float | None], Meta(max_length=500)]


class _Line(Struct):
    sequence: _Sequence
    at: _Moment
    stream: _Word
    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)]


class _Points(Struct):
    attempt: Annotated[int, Meta(ge=1)]
    points: Annotated[list[_Point], Meta(min_length=1)]
    sent_at: _Moment | None = None


class _Lines(Struct):
    attempt: Annotated[int, Meta(ge=1)]
    lines: Annotated[list[_Line], Meta(min_length=1)]
    sent_at: _Moment | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Items of one report, checked."""

    attempt: int
    items: list[Any]
    sent_at: datetime | None

    def encoded(self) -> bytes:
        """The items as JSON. Equal items are equal bytes."""
        return _ENCODER.encode(self.items)

    def shift(self, moved: Callable[[datetime], datetime]) -> None:
        """Move the time of each item."""
        for item in self.items:
            item.at = moved(item.at)


_ENCODER = msgspec.json.Encoder()
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "points": msgspec.json.Decoder(_Points),
    "lines": msgspec.json.Decoder(_Lines),
}


def read_batch(items: str, body: bytes) -> Batch | None:
    """The report whose list is called `items`; None if it must go the other way."""
    if _NUL_IN_JSON in body:  # PostgreSQL cannot hold it
        return None
    try:
        report = _DECODERS[items].decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return Batch(report.attempt, getattr(report, items), report.sent_at)
