"""Collecting faults and warnings: exact counts, a capped list, texts that any database and terminal can hold."""

from dataclasses import dataclass, field
from typing import Any

from stoker_dataset_gateway.checking.rules import RULES, FaultCode, Severity
from stoker_shared.rpc.dataset_gateway import RowFault

_EXCERPT_CHARACTERS = 160
_MESSAGE_CHARACTERS = 600


class RowFaulty(Exception):
    """Something is wrong with the row at hand, or with the file; caught by the file check, never seen outside.

    `at_line` and `at_row` are told by whoever finds a fault of the file that has a place.
    """

    def __init__(self, code: FaultCode, *, column: str = "", at_line: int = 0, at_row: int = 0, **facts: Any) -> None:
        super().__init__(code)
        self.code = code
        self.column = column
        self.at_line = at_line
        self.at_row = at_row
        self.facts: dict[str, Any] = {"column": column, **facts}

    @property
    def is_fault(self) -> bool:
        """Whether it stops the file; else it is a warning."""
        return RULES[self.code].severity is Severity.FAULT


@dataclass
class FaultList:
    """The first `limit` as they are, all of them as counts."""

    limit: int
    faults: list[RowFault] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def add(self, faulty: RowFaulty, *, line: int, row: int = 0, excerpt: str = "") -> None:
        """Take one in. `line` and `row` 0 mean the file as a whole."""
        self.counts[faulty.code] = self.counts.get(faulty.code, 0) + 1
        if len(self.faults) < self.limit:
            self.faults.append(fault_of(faulty, line=line, row=row, excerpt=excerpt))


def fault_of(faulty: RowFaulty, *, line: int, row: int = 0, excerpt: str = "") -> RowFault:
    """The fault as it is told to a user: what is wrong, then what to do."""
    rule = RULES[faulty.code]
    text = f"{rule.message.format(**faulty.facts)} {rule.advice.format(**faulty.facts)}"
    return RowFault(
        line=line,
        row=row,
        column=printable(faulty.column, limit=100),
        code=faulty.code.value,
        message=printable(text, limit=_MESSAGE_CHARACTERS),
        excerpt=printable(excerpt, limit=_EXCERPT_CHARACTERS),
    )


def printable(text: str, *, limit: int) -> str:
    """Cut, and without what PostgreSQL and terminals refuse: control characters, lone surrogates."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(character if _is_plain(character) else "\ufffd" for character in cut)


def _is_plain(character: str) -> bool:
    return character in "\n\t" or (character >= " " and not "\x7f" <= character <= "\x9f" and not _is_half(character))


def _is_half(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
