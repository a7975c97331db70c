"""The shapes that rows may have: formats that are trained on, and shapes that are converted to them."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.rules import FaultCode
from stoker_shared.recipe import Conversion, DataFormat


class Kind(StrEnum):
    """What a column holds."""

    TURNS = "a list of turns"
    TEXT = "text"
    TEXT_OR_TURNS = "text or a list of turns"
    LABEL = "true or false"
    OPTIONAL_TEXT = "text or nothing"


COLUMNS: dict[DataFormat, dict[str, Kind]] = {
    DataFormat.MESSAGES: {"messages": Kind.TURNS},
    DataFormat.PREFERENCE: {"chosen": Kind.TEXT_OR_TURNS, "rejected": Kind.TEXT_OR_TURNS},
    DataFormat.UNPAIRED_PREFERENCE: {
        "prompt": Kind.TEXT_OR_TURNS,
        "completion": Kind.TEXT_OR_TURNS,
        "label": Kind.LABEL,
    },
    DataFormat.PROMPT_COMPLETION: {"prompt": Kind.TEXT_OR_TURNS, "completion": Kind.TEXT_OR_TURNS},
    DataFormat.TEXT: {"text": Kind.TEXT},
    DataFormat.PROMPT_ONLY: {"prompt": Kind.TEXT_OR_TURNS},
}
"""The columns of each format; a row is of the first format of which it has all. Preference may have a prompt, too."""

CONVERTED: dict[Conversion, tuple[DataFormat, str]] = {
    Conversion.SHAREGPT: (
        DataFormat.MESSAGES,
        "`conversations`, a list of turns with `from` and `value`; from becomes role by the table of roles below",
    ),
    Conversion.ALPACA: (
        DataFormat.PROMPT_COMPLETION,
        (
            "`instruction`, `output` and perhaps `input`; prompt = instruction, or instruction + two line breaks + "
            "input if input is not empty; completion = output"
        ),
    ),
    Conversion.TEXT_PAIRS: (
        DataFormat.PROMPT_COMPLETION,
        "`question`/`answer`, `instruction`/`response`, `input`/`output` or `query`/`response`, both text",
    ),
}
"""What each conversion makes of which columns; looked at when no format fits, the first match counts."""

SHAREGPT_ROLES: dict[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}
"""What ShareGPT calls the speakers, and what they are called in messages."""

PAIRS: tuple[tuple[str, str], ...] = (
    ("question", "answer"),
    ("instruction", "response"),
    ("input", "output"),
    ("query", "response"),
)
"""Columns that are a prompt and its completion; the first pair of which a row has both."""

LOST_BY_CONVERSION = ("system", "history", "tools")
"""Columns that belong to the conversation and that no conversion takes along; they must be absent or empty."""

COLUMNS_THAT_COUNT = frozenset(
    {
        *(column for columns in COLUMNS.values() for column in columns),
        *(column for pair in PAIRS for column in pair),
        *LOST_BY_CONVERSION,
        "conversations",
    }
)
"""All that any layout looks at."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of a row count, and what becomes of them. All rows of a file have the same format and conversion.

    `columns` are those of the file, in the order of COLUMNS.
    """

    data_format: DataFormat
    conversion: Conversion | None
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """How it is called in a fault. Rows whose layouts have the same name go together."""
        if self.conversion is not None:
            return f"{self.data_format.value} ({self.conversion.value})"
        if self.data_format is DataFormat.PREFERENCE:
            return "preference with a prompt" if "prompt" in self.columns else "preference without a prompt"
        return self.data_format.value


SHAPES: dict[Conversion, str] = {
    Conversion.SHAREGPT: "ShareGPT (conversations)",
    Conversion.ALPACA: "Alpaca (instruction, input, output)",
    Conversion.TEXT_PAIRS: "a pair of texts",
}
BY_HAND: dict[Conversion, str] = {
    Conversion.SHAREGPT: "rename conversations to messages, from and value to role and content.",
    Conversion.ALPACA: "rename instruction to prompt and output to completion, and append input to prompt.",
    Conversion.TEXT_PAIRS: "rename the two columns to prompt and completion.",
}

FOREIGN_SHAPES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"input_ids"}), "This is tokenised already: upload the text."),
    (frozenset({"chosen"}), "A worse answer belongs to chosen: add a column rejected."),
    (frozenset({"rejected"}), "A better answer belongs to rejected: add a column chosen."),
    (frozenset({"completion"}), "There is an answer without a question: add a column prompt, or name it text."),
    (frozenset({"conversation"}), "Name the column messages, with role and content in each turn."),
)
"""Columns of shapes that we do not take, and what to do about each; the first match speaks."""

NO_KNOWN_SHAPE = "Name the columns messages, or prompt and completion, or text."


def layout_of(columns: Collection[str]) -> Layout | None:
    """The layout by the names of the columns, None if none fits."""
    if "chosen" not in columns and "rejected" not in columns:
        return _native(columns) or _converted(columns)
    return _preference(columns) if "messages" not in columns else _native(columns)


def _preference(columns: Collection[str]) -> Layout | None:
    if "chosen" not in columns or "rejected" not in columns:
        return None
    prompt = ("prompt",) if "prompt" in columns else ()
    return Layout(DataFormat.PREFERENCE, None, (*prompt, "chosen", "rejected"))


def _native(columns: Collection[str]) -> Layout | None:
    for data_format, wanted in COLUMNS.items():
        if all(column in columns for column in wanted):
            return Layout(data_format, None, tuple(wanted))
    return None


def _converted(columns: Collection[str]) -> Layout | None:
    if "conversations" in columns:
        return Layout(DataFormat.MESSAGES, Conversion.SHAREGPT, ("conversations",))
    if "instruction" in columns and "output" in columns:
        with_input = ("input",) if "input" in columns else ()
        return Layout(DataFormat.PROMPT_COMPLETION, Conversion.ALPACA, ("instruction", *with_input, "output"))
    for pair in PAIRS:
        if all(column in columns for column in pair):
            return Layout(DataFormat.PROMPT_COMPLETION, Conversion.TEXT_PAIRS, pair)
    return None


def unknown_shape(columns: Collection[str]) -> RowFaulty:
    """What to say of a row of no known layout."""
    names = [str(column) for column in columns]
    nearest = max(COLUMNS.values(), key=lambda known: sum(column in names for column in known))
    has_part = any(column in names for column in nearest)
    missing = [column for column in nearest if column not in names] if has_part else []
    return RowFaulty(
        FaultCode.MISSING_COLUMN,
        column=missing[0] if missing else "",
        missing=f"Column {missing[0]} is" if missing else "The columns of a known format are",
        found=f"the columns {', '.join(sorted(names)[:10])}"[:200] if names else "no columns",
        advice=next((advice for shape, advice in FOREIGN_SHAPES if shape <= set(names)), NO_KNOWN_SHAPE),
    )
