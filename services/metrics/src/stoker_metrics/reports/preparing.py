"""From a body to the message that makes it durable. The message id is the same whenever the report is."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from stoker_metrics.errors import TooManyItems
from stoker_metrics.reports.batches import Batch, read_batch
from stoker_metrics.reports.clocks import ClockShift, clock_shift
from stoker_metrics.reports.reading import parse_report
from stoker_metrics.reports.schemas import Report
from stoker_metrics.reports.telemetry import Kind


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked report as the broker gets it. `count`: points, lines or the report alone."""

    attempt: int
    count: int
    message_id: str
    payload: bytes
    clock_shift_seconds: float


def prepare(kind: Kind, body: bytes, *, job_id: str, now: datetime, most_items: int) -> Prepared:
    """Check a body and write its message.

    Raises:
        RequestInvalid: names the fields, never their values.
        TooManyItems: half of it may be sent.
    """
    batch = read_batch(kind.items, body) if kind.items else None
    if batch is None:
        return _from_report(kind, parse_report(kind.report, body), job_id=job_id, now=now, most_items=most_items)
    return _from_batch(kind, batch, job_id=job_id, now=now, most_items=most_items)


def message_id(kind: Kind, *, job_id: str, attempt: int, sequences: tuple[int, int], content: bytes) -> str:
    """Names job, attempt, kind, first and last sequence and the content. Never the time at which it came."""
    first, last = sequences
    return f"tel:{job_id}:{attempt}:{kind.name}:{first}-{last}:{hashlib.sha256(content).hexdigest()[:32]}"


def _from_batch(kind: Kind, batch: Batch, *, job_id: str, now: datetime, most_items: int) -> Prepared:
    assert kind.items  # noqa: S101 - only lists come as batches
    items = batch.items
    _check_count(kind, len(items), most_items)
    encoded = batch.encoded()
    sequences = (items[0].sequence, items[-1].sequence)
    identifier = message_id(kind, job_id=job_id, attempt=batch.attempt, sequences=sequences, content=encoded)
    shift = clock_shift(batch.sent_at, now=now)
    if shift.is_needed([item.at for item in items]):
        batch.shift(shift.moved)
        encoded = batch.encoded()
    head = f'{{"job_id":"{job_id}","attempt":{batch.attempt},"clock_shift_seconds":{shift.seconds},"{kind.items}":'
    return Prepared(batch.attempt, len(items), identifier, head.encode() + encoded + b"}", shift.seconds)


def _from_report(kind: Kind, report: Report, *, job_id: str, now: datetime, most_items: int) -> Prepared:
    items = kind.list_of(report)
    if kind.items:
        _check_count(kind, len(items), most_items)
    content = report.model_dump_json(exclude={"sent_at"}).encode()
    sequences = (items[0].sequence, items[-1].sequence)
    identifier = message_id(kind, job_id=job_id, attempt=report.attempt, sequences=sequences, content=content)
    shift = clock_shift(report.sent_at, now=now)
    message = kind.message(job_id, _on_our_clock(kind, report, shift), now)
    if shift.seconds:
        message = message.model_copy(update={"clock_shift_seconds": shift.seconds})
    return Prepared(report.attempt, len(items), identifier, message.model_dump_json().encode(), shift.seconds)


def _check_count(kind: Kind, count: int, most_items: int) -> None:
    if count > most_items:
        raise TooManyItems(kind.items or kind.name, count=count, limit=most_items)


def _on_our_clock(kind: Kind, report: Report, shift: ClockShift) -> Report:
    items = kind.list_of(report)
    if not shift.is_needed([item.at for item in items]):
        return report
    moved = [item.model_copy(update={"at": shift.moved(item.at)}) for item in items]
    return report.model_copy(update={kind.items: moved}) if kind.items else moved[0]
