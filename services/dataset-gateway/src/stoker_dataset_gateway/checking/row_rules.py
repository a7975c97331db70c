"""What a row must hold in each format. At least as strict as the trainer, so that what passes here trains there.

This way explains; it is taken for rows that the fast way (`fast_rows`) does not wave through.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.formats import BY_HAND, LOST_BY_CONVERSION, SHAPES, SHAREGPT_ROLES, Layout
from stoker_dataset_gateway.checking.json_rows import kind_of
from stoker_dataset_gateway.checking.rules import ROLES, FaultCode
from stoker_dataset_gateway.checking.turn_order import last_answer, order_faults
from stoker_shared.recipe import Conversion, DataFormat

Shape = Literal["text", "lists of turns"]
Turn = tuple[str, str]
"""Role, as in messages, and content."""


@dataclass
class RowReport:
    """One row: its faults and warnings, and what goes into the statistics.

    `texts` are the texts that are trained on with their places; `prompt` the part of them that asks, None if the row
    does not tell; `turns` what the sample shows.
    """

    layout: Layout
    shape: Shape = "text"
    faults: list[RowFaulty] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    prompt: list[str] | None = None
    label: bool | None = None
    characters: int = 0
    empty_turns: int = 0

    def fault(self, code: FaultCode, column: str, **facts: Any) -> None:
        """Take one fault or warning down."""
        self.faults.append(RowFaulty(code, column=column, **facts))

    def text(self, place: str, text: str, *, speaker: str) -> None:
        """Take one text down."""
        self.characters += len(text)
        self.texts.append((place, text))
        self.turns.append((speaker, text))


def check_row(values: dict[str, Any], layout: Layout) -> RowReport:
    """Check one row by the rules of its own layout."""
    report = RowReport(layout)
    if layout.conversion is not None:
        _check_nothing_lost(values, layout.conversion, report)
    _CHECKS[layout.conversion or layout.data_format](values, report)
    return report


def conversion_off(layout: Layout) -> RowFaulty:
    """What to say of a row that could be converted, if that is not wanted."""
    assert layout.conversion is not None  # noqa: S101 - asked of such rows only
    shape, advice = SHAPES[layout.conversion], BY_HAND[layout.conversion]
    return RowFaulty(FaultCode.CONVERSION_OFF, column=layout.columns[0], shape=shape, advice=advice)


def _check_nothing_lost(values: dict[str, Any], conversion: Conversion, report: RowReport) -> None:
    for column in LOST_BY_CONVERSION:
        value = values.get(column)
        if value and not (isinstance(value, str) and not value.strip()):
            report.fault(FaultCode.LOSSY_CONVERSION, column, shape=SHAPES[conversion])


def _check_messages(values: dict[str, Any], report: RowReport) -> None:
    _conversation(report, _turns(values["messages"], "messages", report), column="messages")


def _check_sharegpt(values: dict[str, Any], report: RowReport) -> None:
    turns = _turns(values["conversations"], "conversations", report, names=_SHAREGPT)
    _conversation(report, turns, column="conversations")


def _conversation(report: RowReport, turns: list[Turn] | None, *, column: str) -> None:
    report.shape = "lists of turns"
    if turns is None:
        return
    roles = [role for role, _ in turns]
    _need_answer(roles, column, report)
    report.faults.extend(order_faults(roles, column=column))
    answer = last_answer(roles)
    report.prompt = [content for _, content in turns[:answer]] if answer else None


def _check_prompt_completion(values: dict[str, Any], report: RowReport) -> None:
    prompt = _prompt_and_answers(values, ("completion",), report)
    if prompt is not None and report.shape == "text":
        report.prompt = [values["prompt"]]


def _check_unpaired(values: dict[str, Any], report: RowReport) -> None:
    _check_prompt_completion(values, report)
    _check_prompt_end(values["prompt"], report)
    label = values["label"]
    if isinstance(label, int) and label in (0, 1):
        report.label = bool(label)
    else:
        report.fault(FaultCode.WRONG_TYPE, "label", expected="true or false", found=kind_of(label))


def _check_preference(values: dict[str, Any], report: RowReport) -> None:
    if "prompt" not in report.layout.columns:
        _check_implicit_preference(values, report)
        return
    _prompt_and_answers(values, ("chosen", "rejected"), report)
    _check_prompt_end(values["prompt"], report)
    if not _has_fault(report) and values["chosen"] == values["rejected"]:
        report.fault(FaultCode.CHOSEN_EQUALS_REJECTED, "rejected")


def _check_implicit_preference(values: dict[str, Any], report: RowReport) -> None:
    if _columns(values, ("chosen", "rejected"), report) is None:
        return
    chosen, rejected = values["chosen"], values["rejected"]
    if chosen == rejected:
        report.fault(FaultCode.CHOSEN_EQUALS_REJECTED, "rejected")
        return
    shared = _shared(chosen, rejected)
    what = _unshared(chosen, rejected, shared)
    if what:
        report.fault(FaultCode.PROMPT_NOT_SHARED, "rejected", what=what)
    elif report.shape == "text":
        report.fault(FaultCode.IMPLICIT_TEXT_PROMPT, "rejected")
    else:
        report.prompt = [turn["content"] for turn in chosen[:shared]]


def _check_prompt_only(values: dict[str, Any], report: RowReport) -> None:
    if isinstance(values["prompt"], list):
        report.shape = "lists of turns"
        turns = _turns(values["prompt"], "prompt", report)
        roles = [role for role, _ in turns or ()]
        report.faults.extend(order_faults(roles, column="prompt", is_prompt=True))
        report.prompt = [content for _, content in turns or ()] or None
        _check_prompt_end(values["prompt"], report)
    elif _text(values["prompt"], "prompt", report, expected="text or a list of turns"):
        report.prompt = [values["prompt"]]


def _check_text_row(values: dict[str, Any], report: RowReport) -> None:
    _text(values["text"], "text", report)


def _check_alpaca(values: dict[str, Any], report: RowReport) -> None:
    _text(values["instruction"], "instruction", report)
    extra = values.get("input")
    if extra is not None and extra != "":
        if isinstance(extra, str):
            report.text("input", extra, speaker="input")
        else:
            report.fault(FaultCode.WRONG_TYPE, "input", expected="text", found=kind_of(extra))
    _text(values["output"], "output", report)
    if not _has_fault(report):
        report.prompt = [text for place, text in report.texts if place != "output"]


def _check_pair(values: dict[str, Any], report: RowReport) -> None:
    question, answer = report.layout.columns
    is_good = [_text(values[column], column, report) for column in (question, answer)]
    if all(is_good):
        report.prompt = [values[question]]


_CHECKS: dict[DataFormat | Conversion, Callable[[dict[str, Any], RowReport], None]] = {
    DataFormat.MESSAGES: _check_messages,
    DataFormat.PROMPT_COMPLETION: _check_prompt_completion,
    DataFormat.TEXT: _check_text_row,
    DataFormat.PREFERENCE: _check_preference,
    DataFormat.UNPAIRED_PREFERENCE: _check_unpaired,
    DataFormat.PROMPT_ONLY: _check_prompt_only,
    Conversion.SHAREGPT: _check_sharegpt,
    Conversion.ALPACA: _check_alpaca,
    Conversion.TEXT_PAIRS: _check_pair,
}


def _prompt_and_answers(values: dict[str, Any], answers: Sequence[str], report: RowReport) -> list[str] | None:
    """Check the columns alone, then prompt and each answer as one conversation. The prompt's roles, None if faulty."""
    found = _columns(values, ("prompt", *answers), report)
    if found is None or report.shape == "text":
        return [] if found is not None else None
    prompt = [role for role, _ in found["prompt"]]
    for column in answers:
        roles = [role for role, _ in found[column]]
        _need_answer(roles, column, report)
        # What is wrong within the prompt is told once, not for each answer.
        skip = 0 if column == answers[0] else len(prompt)
        report.faults.extend(order_faults(prompt + roles, column=column, skip=skip))
        if found[column][: len(prompt)] == found["prompt"]:
            report.fault(FaultCode.PROMPT_REPEATED, column)
    report.prompt = [content for _, content in found["prompt"]]
    return prompt


def _columns(values: dict[str, Any], columns: Sequence[str], report: RowReport) -> dict[str, list[Turn]] | None:
    """Check that all are texts, or all good lists of turns; None if not. Turns by column, empty for texts."""
    is_turns = isinstance(values[columns[0]], list)
    report.shape = "lists of turns" if is_turns else "text"
    found: dict[str, list[Turn]] = {}
    is_good = True
    for column in columns:
        value = values[column]
        if is_turns and isinstance(value, list):
            turns = _turns(value, column, report)
            is_good, found[column] = is_good and turns is not None, turns or []
        elif is_turns or isinstance(value, list):
            expected = "a list of turns" if is_turns else "text"
            report.fault(FaultCode.WRONG_TYPE, column, expected=f"{expected}, like {columns[0]},", found=kind_of(value))
            is_good = False
        else:
            expected = "text" if column != columns[0] else "text or a list of turns"
            is_good = _text(value, column, report, expected=expected) and is_good
    if is_good and is_turns and "prompt" not in columns:
        for column in columns:
            roles = [role for role, _ in found[column]]
            _need_answer(roles, column, report)
            report.faults.extend(order_faults(roles, column=column))
    return found if is_good else None


def _check_prompt_end(prompt: object, report: RowReport) -> None:
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], dict):
        role = prompt[-1].get("role")
        if role in ("system", "developer", "assistant"):
            report.fault(FaultCode.PROMPT_END, "prompt", role=role)


def _need_answer(roles: Sequence[str], column: str, report: RowReport) -> None:
    if "assistant" not in roles:
        report.fault(FaultCode.NO_ASSISTANT_TURN, column)


def _has_fault(report: RowReport) -> bool:
    return any(fault.is_fault for fault in report.faults)


def _shared(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    """How many characters or turns both begin with."""
    pairs = enumerate(zip(chosen, rejected, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))


def _unshared(chosen: Sequence[Any], rejected: Sequence[Any], shared: int) -> str:
    """Why there is no prompt that both share, empty if there is."""
    if shared == 0:
        return "begin differently"
    if shared in (len(chosen), len(rejected)):
        return "differ only in that one goes on where the other ends"
    if isinstance(chosen, list) and {chosen[shared]["role"], rejected[shared]["role"]} != {"assistant"}:
        return "differ before the assistant speaks"
    return ""


def _text(value: object, column: str, report: RowReport, *, expected: str = "text") -> bool:
    if not isinstance(value, str):
        report.fault(FaultCode.WRONG_TYPE, column, expected=expected, found=kind_of(value))
        return False
    report.text(column, value, speaker=column)
    if not value or value.isspace():
        report.fault(FaultCode.EMPTY_TEXT, column)
        return False
    return True


@dataclass(frozen=True, slots=True)
class _TurnNames:
    role: str = "role"
    content: str = "content"
    roles: dict[str, str] = field(default_factory=lambda: {role: role for role in ROLES})


_MESSAGES = _TurnNames()
_SHAREGPT = _TurnNames("from", "value", SHAREGPT_ROLES)


def _turns(value: object, column: str, report: RowReport, *, names: _TurnNames = _MESSAGES) -> list[Turn] | None:
    """The turns, None if there are none or one of them is faulty."""
    if not isinstance(value, list):
        report.fault(FaultCode.WRONG_TYPE, column, expected="a list of turns", found=kind_of(value))
        return None
    if not value:
        report.fault(FaultCode.EMPTY_MESSAGES, column)
        return None
    checked = [_turn(turn, f"{column}[{number}]", report, names) for number, turn in enumerate(value)]
    turns = [turn for turn in checked if turn is not None]
    return turns if len(turns) == len(checked) else None


def _turn(turn: object, place: str, report: RowReport, names: _TurnNames) -> Turn | None:
    if not isinstance(turn, dict):
        expected = f"an object with {names.role} and {names.content}"
        report.fault(FaultCode.WRONG_TYPE, place, expected=expected, found=kind_of(turn))
        return None
    name = turn.get(names.role)
    role = names.roles.get(name) if isinstance(name, str) else None
    if role is None:
        found = repr(name)[:40] if isinstance(name, str) else kind_of(name)
        report.fault(FaultCode.UNKNOWN_ROLE, f"{place}.{names.role}", found=found, known=", ".join(names.roles))
    if turn.get("tool_calls"):
        report.fault(FaultCode.TOOL_CALLS, f"{place}.tool_calls")
        return None
    content = _content(turn.get(names.content), f"{place}.{names.content}", report, speaker=role or "?")
    return (role, content) if role is not None and content is not None else None


def _content(content: object, place: str, report: RowReport, *, speaker: str) -> str | None:
    if content is None:
        report.fault(FaultCode.NULL_CONTENT, place)
        return None
    if not isinstance(content, str):
        report.fault(FaultCode.CONTENT_NOT_TEXT, place, found=kind_of(content))
        return None
    report.text(place, content, speaker=speaker)
    if not content or content.isspace():
        report.empty_turns += 1
        report.fault(FaultCode.EMPTY_TEXT, place)
        return None
    return content


def faults_of(report: RowReport) -> Iterator[RowFaulty]:
    """Those that stop the file."""
    return (fault for fault in report.faults if fault.is_fault)
