"""The check of one file as its bytes stream past."""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from stoker_dataset_gateway.checking import file_kinds
from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.file_kinds import FileKind, FileName
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers import READERS
from stoker_dataset_gateway.checking.readers.batches import Batch, FaultyRow, JsonBatch
from stoker_dataset_gateway.checking.result import CheckResult
from stoker_dataset_gateway.checking.row_check import RowCheck
from stoker_dataset_gateway.checking.rules import MIN_ROWS, FaultCode
from stoker_dataset_gateway.checking.unpacking import unpacked
from stoker_shared.recipe import DataFormat, HeldOut

_BLOCK_BYTES = 2**20
_ARRAY_OF_OBJECTS = re.compile(rb"\s*\[\s*(\{|$)")


def check_file(
    blocks: Iterable[bytes],
    filename: str,
    *,
    limits: CheckLimits | None = None,
    is_converted: bool = True,
    pulse: Callable[[], None] | None = None,
) -> CheckResult:
    """Check the bytes of a file, which come in blocks of any size.

    Memory is bounded by `CheckLimits.line_bytes` and a fixed part; time is linear. `is_converted` False makes rows
    faults that would have to be converted. `pulse` is called between batches of rows.
    """
    limits = limits or CheckLimits()
    check = RowCheck(limits, is_converted=is_converted)
    try:
        try:
            for batch in batches_of(iter(blocks), filename, limits):
                check.take(batch)
                if pulse is not None:
                    pulse()
            _enough_rows(check)
        except RowFaulty as fault:  # of the file, not of a row
            check.faults.add(fault, line=fault.at_line, row=fault.at_row)
        return _result(check)
    finally:
        check.figures.close()


def batches_of(blocks: Iterator[bytes], filename: str, limits: CheckLimits) -> Iterator[Batch]:
    """The rows of a file as they stand in it.

    Raises:
        RowFaulty: the file cannot be read, or not on.
    """
    name = file_kinds.read_name(filename)
    if name is None:
        raise file_kinds.unsupported(filename)
    may_be_array = name.kind is FileKind.JSON_LINES
    for batch in READERS[name.kind](_content(blocks, name, limits), limits):
        if may_be_array and _is_array(batch):
            raise RowFaulty(FaultCode.JSON_ARRAY)
        may_be_array = may_be_array and isinstance(batch, JsonBatch) and not any(row.strip() for row in batch.rows)
        yield batch


def _content(blocks: Iterator[bytes], name: FileName, limits: CheckLimits) -> Iterator[bytes]:
    """The plain bytes, without a byte order mark."""
    start, blocks = _peek(blocks)
    fault = file_kinds.packing_fault(start, name.packing)
    if fault:
        raise fault
    if name.packing is not None:
        start, blocks = _peek(unpacked(blocks, name.packing, limit=limits.unpacked_bytes))
    fault = file_kinds.content_fault(start, name.kind)
    if fault:
        raise fault
    if start.startswith(file_kinds.UTF8_BOM) and name.kind in file_kinds.TEXT_KINDS:
        first = next(blocks)
        blocks = chain((first[len(file_kinds.UTF8_BOM) :],), blocks)
    yield from blocks


def _peek(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    start = b""
    for block in blocks:
        start += block
        if len(start) >= file_kinds.MAGIC_BYTES:
            break
    return start[: file_kinds.MAGIC_BYTES], chain((start,) if start else (), blocks)


def _is_array(batch: Batch) -> bool:
    """Whether the first line that is not empty begins an array of objects."""
    if isinstance(batch, FaultyRow):
        return bool(_ARRAY_OF_OBJECTS.match(batch.start))
    rows = batch.rows if isinstance(batch, JsonBatch) else ()
    first = next((row for row in rows if row.strip()), b"")
    return bool(_ARRAY_OF_OBJECTS.match(first))


def _enough_rows(check: RowCheck) -> None:
    if check.rows == 0:
        raise RowFaulty(FaultCode.EMPTY_FILE)
    if check.rows < MIN_ROWS:
        raise RowFaulty(FaultCode.TOO_FEW_ROWS, rows=check.rows, minimum=MIN_ROWS)
    is_unpaired = check.first is not None and check.first[1].data_format is DataFormat.UNPAIRED_PREFERENCE
    if is_unpaired and 0 in check.labels.values() and any(check.labels.values()):
        label = "true" if check.labels[True] else "false"
        raise RowFaulty(FaultCode.LABELS_ONE_WAY, column="label", label=label)


def _result(check: RowCheck) -> CheckResult:
    statistics = check.figures.statistics(HeldOut())
    if statistics.held_out_twins or statistics.held_out_shared_prompts:
        leakage = RowFaulty(
            FaultCode.LEAKAGE,
            held_out=statistics.held_out_rows,
            twins=statistics.held_out_twins,
            shared=statistics.held_out_shared_prompts,
        )
        check.warnings.add(leakage, line=0)
    layout = check.first[1] if check.first else None
    return CheckResult(
        data_format=layout.data_format if layout else None,
        conversion=layout.conversion if layout else None,
        statistics=statistics,
        faults=check.faults.faults,
        fault_counts=check.faults.counts,
        warnings=check.warnings.faults,
        warning_counts=check.warnings.counts,
        sample=check.sample,
    )


class FileCheck:
    """The same for bytes that are handed in: they wait in a temporary file until `finish`.

    For the upload that is checked in one request.
    """

    def __init__(self, filename: str, *, limits: CheckLimits | None = None, is_converted: bool = True) -> None:
        self._filename = filename
        self._limits = limits
        self._is_converted = is_converted
        self._file = tempfile.TemporaryFile(prefix="stoker-check-")  # noqa: SIM115 - `finish` closes it

    @property
    def has_faults(self) -> bool:
        """Nothing is known before the end."""
        return False

    def feed(self, block: bytes) -> None:
        """The next bytes of the file."""
        self._file.write(block)

    def finish(self) -> CheckResult:
        """The result, after the last block."""
        self._file.seek(0)
        with self._file:
            blocks = iter(lambda: self._file.read(_BLOCK_BYTES), b"")
            return check_file(blocks, self._filename, limits=self._limits, is_converted=self._is_converted)
