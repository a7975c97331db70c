"""Rows of other well-known shapes as rows that are trained on, losing nothing.

The same rules as the dataset gateway's, which checked the file with them; a contract test compares the two.
"""

from collections.abc import Callable
from typing import Any

from stoker_trainer.config import ConversionName
from stoker_trainer.row_faults import RowFault, checked_text, kind_of

SHAREGPT_ROLES: dict[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}
"""What ShareGPT calls the speakers, and what a chat template calls them."""

TEXT_PAIRS: tuple[tuple[str, str], ...] = (
    ("question", "answer"),
    ("instruction", "response"),
    ("input", "output"),
    ("query", "response"),
)
"""Columns that are a prompt and its completion; the first pair that a row has counts."""

LOST_BY_CONVERSION = ("system", "history", "tools")
"""Columns that belong to the conversation and that no conversion takes along; they must be absent or empty."""


def convert_row(values: dict[str, Any], conversion: ConversionName | None) -> dict[str, Any]:
    """The row in the format that is trained on; without `conversion` the row as it is. Raises RowFault."""
    if conversion is None:
        return values
    lost = next((column for column in LOST_BY_CONVERSION if _holds_something(values.get(column))), None)
    if lost:
        raise RowFault(f"the conversion {conversion} would lose the column {lost}; write the rows as messages")
    return _CONVERSIONS[conversion](values)


def _holds_something(value: object) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


def _from_sharegpt(values: dict[str, Any]) -> dict[str, Any]:
    if "conversations" not in values:
        raise RowFault(f"conversations missing (columns: {_columns(values)})")
    turns = values["conversations"]
    if not isinstance(turns, list):
        raise RowFault(f"conversations must be a list of turns, found {kind_of(turns)}")
    return {"messages": [_turn(turn, f"conversations[{number}]") for number, turn in enumerate(turns)]}


def _turn(turn: object, place: str) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise RowFault(f"{place} must be an object with from and value, found {kind_of(turn)}")
    speaker = turn.get("from")
    if not isinstance(speaker, str) or speaker not in SHAREGPT_ROLES:
        raise RowFault(f"{place}.from must be one of {', '.join(SHAREGPT_ROLES)}, found {speaker!r:.40}")
    if turn.get("tool_calls"):
        raise RowFault(f"{place} has tool_calls, which the conversion would lose; write them as value")
    return {"role": SHAREGPT_ROLES[speaker], "content": turn.get("value")}


def _from_alpaca(values: dict[str, Any]) -> dict[str, Any]:
    if not {"instruction", "output"} <= values.keys():
        raise RowFault(f"instruction and output are needed (columns: {_columns(values)})")
    prompt, more = checked_text(values["instruction"], "instruction"), values.get("input")
    if more is not None and not isinstance(more, str):
        raise RowFault(f"input must be text, found {kind_of(more)}")
    return {"prompt": f"{prompt}\n\n{more}" if more else prompt, "completion": checked_text(values["output"], "output")}


def _from_text_pairs(values: dict[str, Any]) -> dict[str, Any]:
    for prompt, completion in TEXT_PAIRS:
        if prompt in values and completion in values:
            return {
                "prompt": checked_text(values[prompt], prompt),
                "completion": checked_text(values[completion], completion),
            }
    pairs = ", ".join("/".join(pair) for pair in TEXT_PAIRS)
    raise RowFault(f"none of the pairs {pairs} (columns: {_columns(values)})")


_CONVERSIONS: dict[ConversionName, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "sharegpt": _from_sharegpt,
    "alpaca": _from_alpaca,
    "text_pairs": _from_text_pairs,
}


def _columns(values: dict[str, Any]) -> str:
    return f"{', '.join(sorted(values)[:10]) or 'none':.200}"
