"""The check of one file as its bytes stream past."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stoker_dataset_gateway.checking import file_kinds
from stoker_dataset_gateway.checking.faults import FaultList, RowFaulty, printable
from stoker_dataset_gateway.checking.figures import Figures
from stoker_dataset_gateway.checking.json_rows import decode_line, parse_row
from stoker_dataset_gateway.checking.lines import Line, LineCutter
from stoker_dataset_gateway.checking.row_rules import RowReport, Shape, check_row, turns_of
from stoker_dataset_gateway.checking.rules import MIN_ROWS, FaultCode
from stoker_shared.recipe import METHOD_FORMATS, DataFormat
from stoker_shared.rpc.dataset_gateway import DatasetStatistics, RowFault

_SAMPLE_TURN_CHARACTERS = 800
_SAMPLE_TURNS = 12


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """Bytes a line may have, bytes a gzipped file may unpack to, faults that are listed one by one."""

    line_bytes: int = 8 * 2**20
    unpacked_bytes: int = 200 * 10**9
    listed_faults: int = 100


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What the check found. Without faults the file can be trained on with any of `fits_methods`."""

    data_format: DataFormat | None
    statistics: DatasetStatistics
    faults: list[RowFault]
    fault_counts: dict[str, int]
    sample: str

    @property
    def faults_total(self) -> int:
        """All faults, listed or not."""
        return sum(self.fault_counts.values())

    @property
    def fits_methods(self) -> list[str]:
        """Methods that can learn from these rows."""
        if self.data_format is None or self.fault_counts:
            return []
        return sorted(method.value for method, formats in METHOD_FORMATS.items() if self.data_format in formats)


class FileCheck:
    """Feed it the file's bytes in blocks of any size, then ask for the result.

    Memory is bounded by `CheckLimits.line_bytes` and a fixed part; time is linear. Not for two threads at once.
    """

    def __init__(self, filename: str, *, limits: CheckLimits | None = None) -> None:
        self._filename = filename
        self._limits = limits or CheckLimits()
        self._faults = FaultList(self._limits.listed_faults)
        self._lines = LineCutter(limit=self._limits.line_bytes)
        self._unpacker = (
            file_kinds.Unpacker(limit=self._limits.unpacked_bytes) if file_kinds.is_gzip_name(filename) else None
        )
        self._figures = Figures()
        self._start: bytes | None = b""
        self._is_hopeless = False
        self._rows_seen = 0
        self._first: tuple[int, DataFormat, Shape] | None = None
        self._sample = ""

    @property
    def has_faults(self) -> bool:
        """Whether anything is wrong so far."""
        return self._faults.total > 0

    def feed(self, block: bytes) -> None:
        """The next bytes of the file."""
        if self._is_hopeless:
            return
        if self._start is not None:
            self._start += block
            if len(self._start) < file_kinds.MAGIC_BYTES:
                return
            block = self._begin()
        self._guarded(block)

    def finish(self) -> CheckResult:
        """The result, after the last block."""
        if self._start is not None:
            self._guarded(self._begin())
        if not self._is_hopeless:
            self._end()
        return CheckResult(
            data_format=self._first[1] if self._first else None,
            statistics=self._figures.statistics(),
            faults=self._faults.faults,
            fault_counts=self._faults.counts,
            sample=self._sample,
        )

    def _begin(self) -> bytes:
        start, self._start = self._start or b"", None
        fault = file_kinds.magic_fault(start[: file_kinds.MAGIC_BYTES], self._filename)
        if fault is not None:
            self._give_up(fault)
        return start

    def _guarded(self, block: bytes) -> None:
        if self._is_hopeless:
            return
        try:
            for piece in self._unpacked(block):
                self._check_lines(self._lines.feed(piece))
        except RowFaulty as fault:  # of the file, not of a row
            self._give_up(fault)

    def _end(self) -> None:
        try:
            # First: of a cut archive the last line is cut, too, and no fault of the row.
            if self._unpacker is not None:
                self._unpacker.finish()
            self._check_lines(self._lines.finish())
        except RowFaulty as fault:
            self._give_up(fault)
            return
        if self._rows_seen == 0:
            self._give_up(RowFaulty(FaultCode.EMPTY_FILE))
        elif self._rows_seen < MIN_ROWS:
            self._give_up(RowFaulty(FaultCode.TOO_FEW_ROWS, rows=self._rows_seen, minimum=MIN_ROWS))

    def _give_up(self, fault: RowFaulty) -> None:
        self._is_hopeless = True
        self._faults.add(fault, line=0)

    def _unpacked(self, block: bytes) -> Iterator[bytes]:
        if self._unpacker is None:
            yield block
        else:
            yield from self._unpacker.feed(block)

    def _check_lines(self, lines: Iterable[Line]) -> None:
        for line in lines:
            content = line.content
            if line.number == 1 and content is not None:
                content = content.removeprefix(file_kinds.UTF8_BOM)
            try:
                self._check_line(line.number, content)
            except RowFaulty as fault:
                self._rows_seen += 1
                if self._is_array(fault, line):
                    raise RowFaulty(FaultCode.JSON_ARRAY) from None
                self._faults.add(fault, line=line.number, excerpt=_show(line.start))

    def _is_array(self, fault: RowFaulty, line: Line) -> bool:
        is_first = self._rows_seen == 1
        start = line.start.removeprefix(file_kinds.UTF8_BOM)
        return is_first and fault.code in _SIGNS_OF_AN_ARRAY and bool(_ARRAY_OF_OBJECTS.match(start))

    def _check_line(self, number: int, content: bytes | None) -> None:
        if content is None:
            raise RowFaulty(FaultCode.LINE_TOO_LONG, limit=self._limits.line_bytes)
        text = decode_line(content)
        if not text:
            return
        values = parse_row(text)
        report = check_row(values)
        self._rows_seen += 1
        self._figures.add(text, characters=report.characters, empty_turns=report.empty_turns)
        for fault in (*report.faults, *self._differences(number, report)):
            self._faults.add(fault, line=number, excerpt=text[:200])
        if not self._sample and not report.faults:
            self._sample = _render(turns_of(values, report.data_format))

    def _differences(self, number: int, report: RowReport) -> Iterator[RowFaulty]:
        if self._first is None:
            self._first = (number, report.data_format, report.shape)
        first_line, data_format, shape = self._first
        if report.data_format is not data_format:
            yield RowFaulty(
                FaultCode.MIXED_FORMATS,
                found=report.data_format.value,
                expected=data_format.value,
                first_line=first_line,
            )
        elif report.shape != shape:
            yield RowFaulty(FaultCode.MIXED_TYPES, found=report.shape, expected=shape, first_line=first_line)


_ARRAY_OF_OBJECTS = re.compile(rb"\s*\[\s*(\{|$)")
_SIGNS_OF_AN_ARRAY = frozenset({FaultCode.INVALID_JSON, FaultCode.NOT_AN_OBJECT, FaultCode.LINE_TOO_LONG})


def _show(start: bytes) -> str:
    return start.decode("utf-8", "replace")


def _render(turns: Iterable[tuple[str, str]]) -> str:
    shown = [f"{speaker}: {printable(text, limit=_SAMPLE_TURN_CHARACTERS)}" for speaker, text in turns]
    if len(shown) > _SAMPLE_TURNS:
        shown[_SAMPLE_TURNS:] = [f"... {len(shown) - _SAMPLE_TURNS} more turns"]
    return "\n".join(shown)
