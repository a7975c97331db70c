"""The one way in which a row can be refused, and the tests of texts and turns that every format shares."""

from itertools import pairwise
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")

OPENING_ROLES = ("system", "developer")


class RowFault(Exception):
    """What is wrong with one row."""


def checked_text(value: object, column: str) -> str:
    """The value, which must be text with something in it. Raises RowFault."""
    if not isinstance(value, str):
        raise RowFault(f"{column} must be text, found {kind_of(value)}")
    if not value.strip():
        raise RowFault(f"{column} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowFault(f"{column} holds half a character (a lone surrogate such as \\ud800)") from error
    return value


def checked_turns(value: object, column: str) -> list[dict[str, str]]:
    """The turns with role and content only. Raises RowFault."""
    if not isinstance(value, list):
        raise RowFault(f"{column} must be a list of turns, found {kind_of(value)}")
    if not value:
        raise RowFault(f"{column} is an empty list")
    return [_checked_turn(turn, f"{column}[{number}]") for number, turn in enumerate(value)]


def check_order(turns: list[dict[str, str]], column: str) -> None:
    """Instructions stand before all else; a tool speaks after the assistant or another tool. Raises RowFault."""
    roles = [turn["role"] for turn in turns]
    for number, (before, role) in enumerate(pairwise(roles), start=1):
        if role in OPENING_ROLES and before not in OPENING_ROLES:
            raise RowFault(f"{column} has a {role} turn after one of {before} (turn {number}); it must stand first")
        if role == "tool" and before not in {"assistant", "tool"}:
            raise RowFault(f"{column} has a tool turn after one of {before} (turn {number}); it must follow the call")
    if roles[0] == "tool":
        raise RowFault(f"{column} begins with a tool turn; it must follow the call")


def kind_of(value: object) -> str:
    """The type of a value as a user knows it."""
    return "nothing (null)" if value is None else type(value).__name__


def _checked_turn(turn: object, place: str) -> dict[str, str]:
    if not isinstance(turn, dict):
        raise RowFault(f"{place} must be an object with role and content, found {kind_of(turn)}")
    if turn.get("tool_calls"):
        raise RowFault(f"{place} has tool_calls, which this trainer does not train on; write them as content")
    role: Any = turn.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise RowFault(f"{place}.role must be one of {', '.join(ROLES)}, found {role!r:.40}")
    if isinstance(turn.get("content"), list):
        raise RowFault(f"{place}.content is a list of parts; only text is trained on, join the parts to one text")
    return {"role": role, "content": checked_text(turn.get("content"), f"{place}.content")}
