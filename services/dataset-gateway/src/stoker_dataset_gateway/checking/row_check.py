"""Checking rows as they come: the short way, and for rows that it does not wave through the long one."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from stoker_dataset_gateway.checking import private_data
from stoker_dataset_gateway.checking.fast_rows import (
    Measure,
    Measured,
    Signature,
    measure_for,
    signature_of,
    without_twice,
)
from stoker_dataset_gateway.checking.faults import FaultList, RowFaulty, printable
from stoker_dataset_gateway.checking.figures import Figures
from stoker_dataset_gateway.checking.formats import Layout, layout_of, unknown_shape
from stoker_dataset_gateway.checking.json_rows import decode_row, parse_row
from stoker_dataset_gateway.checking.ledger import hash_of, prompt_hash_of
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers.batches import START_BYTES, Batch, FaultyRow, JsonBatch
from stoker_dataset_gateway.checking.row_rules import RowReport, Shape, Turn, check_row, conversion_off
from stoker_dataset_gateway.checking.rules import FaultCode

_SAMPLE_TURN_CHARACTERS = 800
_SAMPLE_TURNS = 12
_MOST_SIGNATURES = 64
_FIRST_ROWS = 8


class RowCheck:
    """Takes batches in; holds what was found. The result does not depend on how the rows were batched."""

    def __init__(self, limits: CheckLimits, *, is_converted: bool) -> None:
        self.faults = FaultList(limits.listed_faults)
        self.warnings = FaultList(limits.listed_warnings)
        self.figures = Figures(followed_rows=limits.followed_rows)
        self.rows = 0
        self.labels = {True: 0, False: 0}
        self.sample = ""
        self.first: tuple[str, Layout, Shape] | None = None
        self._is_converted = is_converted
        self._measures: dict[Signature, Measure | None] = {}
        self._measure: Measure | None = None

    def take(self, batch: Batch) -> None:
        """Check some rows."""
        if isinstance(batch, FaultyRow):
            self.rows += 1
            self._tell([batch.fault], line=batch.line, excerpt=_shown(batch.start))
        elif isinstance(batch, JsonBatch):
            # Of the first rows the short way is learnt.
            first = 0 if self._measure else _FIRST_ROWS
            for lines, rows in ((batch.lines[:first], batch.rows[:first]), (batch.lines[first:], batch.rows[first:])):
                self._take_json(JsonBatch(lines, rows))
        else:
            for line, values in zip(batch.lines, batch.rows, strict=True):
                self.rows += 1
                self._explain(values, line=line)

    def _take_json(self, batch: JsonBatch) -> None:
        rows, start = batch.rows, 0
        measured = self._measured(rows)
        for index, one in enumerate(measured):
            if one is not None:
                continue
            # In the order of the rows, since the split looks at that.
            self._count_measured(rows[start:index], measured[start:index])
            start = index + 1
            if content := rows[index].strip():
                self.rows += 1
                self._explain(_parsed(rows[index]), line=batch.lines[index], content=content)
        self._count_measured(rows[start:], measured[start:])

    def _count_measured(self, rows: Sequence[bytes], measured: Sequence[Measured | None]) -> None:
        found = [one for one in measured if one is not None]
        hashes = [0] * (2 * len(rows))
        hashes[0::2] = [hash_of(raw.strip()) for raw in rows]
        hashes[1::2] = [one.prompt for one in found]
        self.rows += len(rows)
        self.figures.add([one.characters for one in found], hashes)
        labels = [one.label for one in found]
        for label in self.labels:
            self.labels[label] += labels.count(label)

    def _measured(self, rows: Sequence[bytes]) -> list[Measured | None]:
        """What the short way says of each row; None where the long one must look."""
        measure = self._measure
        if measure is None:
            return [None] * len(rows)
        measured = [measure(raw) for raw in rows]
        hints = private_data.hints_in(b"\n".join(rows))
        if hints:
            pairs = zip(rows, measured, strict=True)
            measured = [None if one is None or private_data.needs_look(raw, hints) else one for raw, one in pairs]
        return without_twice(rows, measured)

    def _explain(self, values: dict[str, Any] | RowFaulty, *, line: int, content: bytes = b"") -> None:
        """The long way. `content` is the row as it stands in the file, if it stands there as JSON."""
        try:
            if isinstance(values, RowFaulty):
                raise values
            layout = self._layout(values)
        except RowFaulty as fault:
            self._tell([fault], line=line, excerpt=_shown(content) or _as_json(values)[:START_BYTES])
            return
        report = check_row(values, layout)
        found = [*report.faults, *self._differences(report, line=line)]
        private = list(private_data.find_private(report.texts))
        # Of a row with something private in it only the masked finding is shown.
        excerpt = "" if private or not found else (_shown(content) or _as_json(values))[:START_BYTES]
        self._tell([*found, *private], line=line, excerpt=excerpt)
        self._count(report, row_hash=hash_of(content or msgspec.json.encode(values, enc_hook=str)))
        if not any(fault.is_fault for fault in found):
            self.sample = self.sample or _render(report.turns)
            self._learn(values, layout)

    def _layout(self, values: dict[str, Any]) -> Layout:
        layout = layout_of(values)
        if layout is None:
            raise unknown_shape(values)
        if layout.conversion is not None and not self._is_converted:
            raise conversion_off(layout)
        return layout

    def _count(self, report: RowReport, *, row_hash: int) -> None:
        self.figures.add([report.characters], [row_hash, prompt_hash_of(report.prompt)])
        self.figures.empty_turns += report.empty_turns
        if report.label is not None:
            self.labels[report.label] += 1

    def _differences(self, report: RowReport, *, line: int) -> Iterator[RowFaulty]:
        if self.first is None:
            self.first = (f"line {line}" if line else f"row {self.rows}", report.layout, report.shape)
        place, layout, shape = self.first
        if report.layout.name != layout.name:
            yield RowFaulty(FaultCode.MIXED_FORMATS, found=report.layout.name, expected=layout.name, first_place=place)
        elif report.shape != shape:
            yield RowFaulty(FaultCode.MIXED_TYPES, found=report.shape, expected=shape, first_place=place)

    def _learn(self, values: dict[str, Any], layout: Layout) -> None:
        """Rows like this one go the short way from now on."""
        signature = signature_of(values, layout)
        if signature is None:
            return
        if signature not in self._measures and len(self._measures) < _MOST_SIGNATURES:
            self._measures[signature] = measure_for(signature)
        self._measure = self._measures.get(signature) or self._measure

    def _tell(self, found: Iterable[RowFaulty], *, line: int, excerpt: str) -> None:
        for fault in found:
            target = self.faults if fault.is_fault else self.warnings
            target.add(fault, line=line, row=self.rows, excerpt=excerpt)


def _parsed(raw: bytes) -> dict[str, Any] | RowFaulty:
    try:
        return parse_row(decode_row(raw))
    except RowFaulty as fault:
        return fault


def _shown(start: bytes) -> str:
    return start[:START_BYTES].decode("utf-8", "replace")


def _as_json(values: object) -> str:
    if isinstance(values, RowFaulty):
        return ""
    return msgspec.json.encode(values, enc_hook=str).decode("utf-8", "replace")


def _render(turns: Iterable[Turn]) -> str:
    shown = [f"{speaker}: {printable(text, limit=_SAMPLE_TURN_CHARACTERS)}" for speaker, text in turns]
    if len(shown) > _SAMPLE_TURNS:
        shown[_SAMPLE_TURNS:] = [f"... {len(shown) - _SAMPLE_TURNS} more turns"]
    return "\n".join(shown)
