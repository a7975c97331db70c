"""What a row must hold in each format. At least as strict as the trainer, so that what passes here trains there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.json_rows import kind_of
from stoker_dataset_gateway.checking.rules import FOREIGN_SHAPES, NO_KNOWN_SHAPE, ROLES, FaultCode
from stoker_shared.recipe import DataFormat

Shape = Literal["text", "lists of turns"]

COLUMNS: dict[DataFormat, tuple[str, ...]] = {
    DataFormat.MESSAGES: ("messages",),
    DataFormat.PROMPT_COMPLETION: ("prompt", "completion"),
    DataFormat.TEXT: ("text",),
}
"""The columns of each format; a row is of the first format of which it has all."""


@dataclass(frozen=True, slots=True)
class RowReport:
    """One row: its format, its faults, and what goes into the statistics."""

    data_format: DataFormat
    shape: Shape
    faults: tuple[RowFaulty, ...]
    characters: int
    empty_turns: int


@dataclass
class _Findings:
    faults: list[RowFaulty] = field(default_factory=list)
    characters: int = 0
    empty_turns: int = 0

    def fault(self, code: FaultCode, column: str, **facts: object) -> None:
        self.faults.append(RowFaulty(code, column=column, **facts))


def check_row(values: dict[str, Any]) -> RowReport:
    """Check one row by the rules of its own format.

    Raises:
        RowFaulty: its columns are of no format that we know.
    """
    data_format = format_of(values)
    findings = _Findings()
    shape = _CHECKS[data_format](values, findings)
    return RowReport(data_format, shape, tuple(findings.faults), findings.characters, findings.empty_turns)


def format_of(values: dict[str, Any]) -> DataFormat:
    """The format by the names of the columns.

    Raises:
        RowFaulty: none fits; says which columns are missing and what the row looks like.
    """
    for data_format, columns in COLUMNS.items():
        if all(column in values for column in columns):
            return data_format
    nearest = max(COLUMNS.values(), key=lambda columns: sum(column in values for column in columns))
    has_part = any(column in values for column in nearest)
    missing = [column for column in nearest if column not in values] if has_part else []
    raise RowFaulty(
        FaultCode.MISSING_COLUMN,
        column=missing[0] if missing else "",
        missing=f"Column {missing[0]} is" if missing else "The columns of a known format are",
        found=f"the columns {', '.join(sorted(values)[:10])}"[:200] if values else "no columns",
        advice=next((advice for shape, advice in FOREIGN_SHAPES if shape <= values.keys()), NO_KNOWN_SHAPE),
    )


def turns_of(values: dict[str, Any], data_format: DataFormat) -> Iterator[tuple[str, str]]:
    """A good row as pairs of speaker and text, for the sample."""
    for column in COLUMNS[data_format]:
        if isinstance(values[column], str):
            yield column, values[column]
            continue
        for turn in values[column]:
            yield turn["role"], turn["content"]


def _check_messages(values: dict[str, Any], findings: _Findings) -> Shape:
    roles = _check_turns(values["messages"], "messages", findings)
    if roles and "assistant" not in roles:
        findings.fault(FaultCode.NO_ASSISTANT_TURN, "messages")
    return "lists of turns"


def _check_prompt_completion(values: dict[str, Any], findings: _Findings) -> Shape:
    prompt, completion = values["prompt"], values["completion"]
    if isinstance(prompt, str) and isinstance(completion, list):
        findings.fault(FaultCode.WRONG_TYPE, "completion", expected="text, like prompt", found="a list")
        return "text"
    if not isinstance(prompt, list):
        _check_text(prompt, "prompt", findings)
        _check_text(completion, "completion", findings)
        return "text"
    _check_turns(prompt, "prompt", findings)
    roles = _check_turns(completion, "completion", findings)
    if roles and "assistant" not in roles:
        findings.fault(FaultCode.NO_ASSISTANT_TURN, "completion")
    return "lists of turns"


def _check_text_row(values: dict[str, Any], findings: _Findings) -> Shape:
    _check_text(values["text"], "text", findings)
    return "text"


_CHECKS: dict[DataFormat, Callable[[dict[str, Any], _Findings], Shape]] = {
    DataFormat.MESSAGES: _check_messages,
    DataFormat.PROMPT_COMPLETION: _check_prompt_completion,
    DataFormat.TEXT: _check_text_row,
}


def _check_text(value: object, column: str, findings: _Findings) -> None:
    if not isinstance(value, str):
        findings.fault(FaultCode.WRONG_TYPE, column, expected="text", found=kind_of(value))
        return
    findings.characters += len(value)
    if not value.strip():
        findings.fault(FaultCode.EMPTY_TEXT, column)


def _check_turns(value: object, column: str, findings: _Findings) -> list[str]:
    """The roles of the turns, empty if there are no turns to speak of."""
    if not isinstance(value, list):
        findings.fault(FaultCode.WRONG_TYPE, column, expected="a list of turns", found=kind_of(value))
        return []
    if not value:
        findings.fault(FaultCode.EMPTY_MESSAGES, column)
        return []
    return [_check_turn(turn, f"{column}[{number}]", findings) for number, turn in enumerate(value)]


def _check_turn(turn: object, place: str, findings: _Findings) -> str:
    if not isinstance(turn, dict):
        findings.fault(FaultCode.WRONG_TYPE, place, expected="an object with role and content", found=kind_of(turn))
        return ""
    role = turn.get("role")
    if role not in ROLES:
        found = repr(role)[:40] if isinstance(role, str) else kind_of(role)
        findings.fault(FaultCode.UNKNOWN_ROLE, f"{place}.role", found=found)
    if turn.get("tool_calls"):
        findings.fault(FaultCode.TOOL_CALLS, f"{place}.tool_calls")
    else:
        _check_content(turn.get("content"), f"{place}.content", findings)
    return str(role)


def _check_content(content: object, place: str, findings: _Findings) -> None:
    if content is None:
        findings.fault(FaultCode.NULL_CONTENT, place)
    elif not isinstance(content, str):
        findings.fault(FaultCode.CONTENT_NOT_TEXT, place, found=kind_of(content))
    else:
        findings.characters += len(content)
        if not content.strip():
            findings.empty_turns += 1
            findings.fault(FaultCode.EMPTY_TEXT, place)
