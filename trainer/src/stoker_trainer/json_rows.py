"""JSON, read strictly: nothing that two readers could understand in two ways gets through."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from stoker_trainer.errors import DatasetUnreadable

MAX_ROW_BYTES = 64 << 20
"""A row above this is taken for a file whose rows are not separated."""

_BLOCK_BYTES = 1 << 20
_WHITE_SPACE = " \t\n\r\x0b\x0c"
_LONGEST_CUT = 32
"""Characters before the end within which an error may only mean that the rest has not been read yet."""


class Row(NamedTuple):
    """One row and where it stands: a line of the file, or a row number where lines mean nothing."""

    place: str
    values: dict[str, Any]


def read_json_lines(file: BinaryIO) -> Iterator[Row]:
    """One object a line; empty lines are skipped. Raises DatasetUnreadable naming the line."""
    for place, line in numbered_lines(file):
        if line.strip(_WHITE_SPACE):
            yield as_row(parse_json(line.strip(), place), place)


def numbered_lines(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """`line N` and its text, without a byte order mark. Raises DatasetUnreadable: not UTF-8, or far too long."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        place = f"line {number}"
        if len(line) > MAX_ROW_BYTES:
            raise DatasetUnreadable(
                f"{place} is longer than {MAX_ROW_BYTES} bytes. Does each row end with a line break?"
            )
        yield place, decode(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, place)


def read_json_array(file: BinaryIO) -> Iterator[Row]:
    """The objects of one array, of which no more than one and a block are held at a time.

    Raises DatasetUnreadable naming the row.
    """
    text = _Window(file)
    text.take(r"\[", "the start of an array, [")
    if text.has(r"\]"):
        text.end()
        return
    number = 0
    while True:
        number += 1
        place = f"row {number}"
        text.place = place
        yield as_row(text.value(), place)
        if text.has(r"\]"):
            break
        text.take(",", "a comma or the end of the array, ]")
    text.end()


def decode(content: bytes, place: str) -> str:
    """The bytes as UTF-8. Raises DatasetUnreadable."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(place, error) from error


def not_utf8(place: str, error: UnicodeDecodeError) -> DatasetUnreadable:
    """What to say of bytes that are not UTF-8."""
    found = error.object[error.start]
    return DatasetUnreadable(f"{place}: byte {error.start + 1} is not UTF-8 (0x{found:02x}). Save the file as UTF-8.")


def parse_json(text: str, place: str) -> Any:
    """The value that the text holds. Raises DatasetUnreadable."""
    try:
        return DECODER.decode(text)
    except RecursionError as error:
        raise DatasetUnreadable(f"{place}: JSON nested too deeply") from error
    except ValueError as error:
        raise DatasetUnreadable(f"{place}: not valid JSON: {error}") from error


def as_row(values: object, place: str) -> Row:
    """A row is an object. Raises DatasetUnreadable."""
    if not isinstance(values, dict):
        raise DatasetUnreadable(f"{place}: expected an object, found {type(values).__name__}")
    return Row(place, values)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"the key {twice[0]!r} stands there twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_constant)


class _Window:
    """The part of a file's text that is being read."""

    def __init__(self, file: BinaryIO) -> None:
        self.place = "the start of the file"
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._start = 0
        self._is_whole = False

    def has(self, pattern: str) -> bool:
        """Skip white space, then `pattern` if it is next."""
        self._skip_space()
        match = re.compile(pattern).match(self._text, self._start)
        if match is None:
            return False
        self._start = match.end()
        return True

    def take(self, pattern: str, expected: str) -> None:
        """Skip white space and `pattern`, which must be next."""
        if not self.has(pattern):
            found = self._text[self._start : self._start + 1]
            where = f"before {found!r}" if found else "but the file ends"
            raise DatasetUnreadable(f"{self.place}: not valid JSON: expected {expected}, {where}")

    def value(self) -> Any:
        """The value that is next, reading on until it is whole."""
        self._skip_space()
        while True:
            try:
                value, self._start = DECODER.raw_decode(self._text, self._start)
            except json.JSONDecodeError as error:
                if self._is_cut(error):
                    self._read(max(_BLOCK_BYTES, len(self._text) - self._start))  # doubling: linear in all
                    continue
                raise DatasetUnreadable(f"{self.place}: not valid JSON: {error.msg}") from error
            except RecursionError as error:
                raise DatasetUnreadable(f"{self.place}: JSON nested too deeply") from error
            except ValueError as error:
                raise DatasetUnreadable(f"{self.place}: not valid JSON: {error}") from error
            else:
                return value

    def end(self) -> None:
        """Only white space may follow."""
        self._skip_space()
        if self._start < len(self._text):
            raise DatasetUnreadable(f"{self.place}: something follows the end of the array")

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        if self._is_whole:
            return False
        if len(self._text) - self._start > MAX_ROW_BYTES:
            raise DatasetUnreadable(f"{self.place} is longer than {MAX_ROW_BYTES} characters")
        return error.pos > len(self._text) - _LONGEST_CUT or error.msg.startswith("Unterminated string")

    def _skip_space(self) -> None:
        while True:
            match = _SPACE.match(self._text, self._start)
            self._start = match.end() if match else self._start
            if self._start < len(self._text) or self._is_whole:
                return
            self._read(_BLOCK_BYTES)

    def _read(self, size: int) -> None:
        block = self._file.read(size)
        self._is_whole = not block
        try:
            fresh = self._decoder.decode(block, final=self._is_whole)
        except UnicodeDecodeError as error:
            raise DatasetUnreadable(
                f"in or soon after {self.place}: a byte is not UTF-8 (0x{error.object[error.start]:02x}). "
                "Save the file as UTF-8."
            ) from error
        self._text = self._text[self._start :] + fresh
        self._start = 0


_SPACE = re.compile(r"[ \t\r\n]*")
