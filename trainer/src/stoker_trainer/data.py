"""Checking rows against the format, and splitting off the held-out ones."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoker_trainer.config import ConversionName, DataFormatName, HeldOutConfig
from stoker_trainer.conversion import TEXT_PAIRS, convert_row
from stoker_trainer.errors import DatasetMethodMismatch, DatasetUnreadable
from stoker_trainer.row_faults import RowFault, check_order, checked_text, checked_turns, kind_of
from stoker_trainer.rows import read_rows

MAX_FAULTS_SHOWN = 20
COLUMNS: dict[DataFormatName, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
}
FOREIGN_SHAPES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"chosen", "rejected"}), "this is preference data (DPO, reward); SFT needs one answer per row"),
    (frozenset({"prompt", "completion", "label"}), "this is KTO data; remove bad answers and the label column"),
    (frozenset({"instruction", "output"}), "this is Alpaca data; set data.conversion to alpaca"),
    (frozenset({"conversations"}), "this is ShareGPT data; set data.conversion to sharegpt"),
    *(
        (frozenset(pair), f"rename {pair[0]} and {pair[1]}, or set data.conversion to text_pairs")
        for pair in TEXT_PAIRS
    ),
    (frozenset({"messages"}), "these rows are messages; set data.format to messages"),
    (frozenset({"prompt", "completion"}), "these rows are prompt and completion; set data.format accordingly"),
    (frozenset({"text"}), "these rows are text; set data.format to text"),
    (frozenset({"prompt"}), "there are prompts but no answers; SFT needs a completion in each row"),
)
"""Columns of other formats and what to do about them; the first match speaks."""


@dataclass
class DataFacts:
    """What the check found. `notes` are no errors but worth a warning."""

    rows: int = 0
    is_conversational: bool = False
    notes: dict[str, int] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Count one more row of which `text` is true."""
        self.notes[text] = self.notes.get(text, 0) + 1


def check_rows(path: Path, *, data_format: DataFormatName, conversion: ConversionName | None = None) -> DataFacts:
    """Read the whole file once and check every row.

    Raises DatasetUnreadable (not parseable) or DatasetMethodMismatch (parseable, but not what the format
    needs) with up to 20 faults and their lines.
    """
    facts = DataFacts()
    faults: list[str] = []
    for place, values in read_rows(path):
        try:
            converted = convert_row(values, conversion)
            cleaned = clean_row(converted, data_format=data_format, facts=facts)
            _same_shape_as_first(cleaned, facts)
        except RowFault as fault:
            faults.append(f"{place}: {fault}")
            if len(faults) >= MAX_FAULTS_SHOWN:
                break
        facts.rows += 1
    if faults:
        raise DatasetMethodMismatch(_fault_text(path, data_format=data_format, faults=faults))
    if facts.rows == 0:
        raise DatasetUnreadable(f"{path.name} has no rows")
    return facts


def clean_rows(
    path: str,
    data_format: DataFormatName,
    conversion: ConversionName | None,
    fingerprint: str,  # noqa: ARG001
) -> Iterator[dict[str, Any]]:
    """The checked rows, converted if need be, with only the columns that are trained on.

    `fingerprint` is not used here: it keys the cache of `datasets`, which would not notice new content.
    """
    for _, values in read_rows(Path(path)):
        yield clean_row(convert_row(values, conversion), data_format=data_format, facts=DataFacts())


def split_indices(rows: int, *, held_out: HeldOutConfig) -> tuple[list[int], list[int]]:
    """Row numbers for training and for the held-out set: seeded, disjoint, together all rows, both sorted.

    At least one row stays for training; with one row, or fraction 0, nothing is held out.
    """
    if held_out.fraction == 0 or rows < 2:
        return list(range(rows)), []
    count = min(held_out.max_rows, max(1, round(rows * held_out.fraction)), rows - 1)
    chosen = set(random.Random(held_out.seed).sample(range(rows), count))  # noqa: S311 - repeatable on purpose
    return [row for row in range(rows) if row not in chosen], sorted(chosen)


def clean_row(values: dict[str, Any], *, data_format: DataFormatName, facts: DataFacts) -> dict[str, Any]:
    """The row's training columns. Raises RowFault."""
    missing = [name for name in COLUMNS[data_format] if name not in values]
    if missing:
        raise RowFault(_missing_text(missing, values))
    return _CLEANERS[data_format](values, facts)


def _clean_messages(values: dict[str, Any], facts: DataFacts) -> dict[str, Any]:
    messages = checked_turns(values["messages"], "messages")
    if not any(turn["role"] == "assistant" for turn in messages):
        raise RowFault("messages has no assistant turn, so there is nothing to learn")
    check_order(messages, "messages")
    if messages[-1]["role"] != "assistant":
        facts.note("the last turn is not the assistant's")
    return {"messages": messages}


def _clean_prompt_completion(values: dict[str, Any], _facts: DataFacts) -> dict[str, Any]:
    prompt, completion = values["prompt"], values["completion"]
    for name in COLUMNS["prompt_completion"]:
        if not isinstance(values[name], str | list):
            raise RowFault(f"{name} must be text or a list of turns, found {kind_of(values[name])}")
    if isinstance(prompt, str) != isinstance(completion, str):
        raise RowFault("prompt and completion must both be text or both be lists of turns")
    if isinstance(prompt, str):
        return {"prompt": checked_text(prompt, "prompt"), "completion": checked_text(completion, "completion")}
    turns = {"prompt": checked_turns(prompt, "prompt"), "completion": checked_turns(completion, "completion")}
    if not any(turn["role"] == "assistant" for turn in turns["completion"]):
        raise RowFault("completion has no assistant turn, so there is nothing to learn")
    check_order(turns["prompt"] + turns["completion"], "prompt and completion")
    if turns["completion"][: len(turns["prompt"])] == turns["prompt"]:
        raise RowFault("completion begins with the prompt, which would be trained on twice; keep only the answer in it")
    return turns


def _clean_text(values: dict[str, Any], _facts: DataFacts) -> dict[str, Any]:
    return {"text": checked_text(values["text"], "text")}


_CLEANERS: dict[DataFormatName, Callable[[dict[str, Any], DataFacts], dict[str, Any]]] = {
    "messages": _clean_messages,
    "prompt_completion": _clean_prompt_completion,
    "text": _clean_text,
}


def _missing_text(missing: list[str], values: dict[str, Any]) -> str:
    advice = next((text for columns, text in FOREIGN_SHAPES if columns <= values.keys()), None)
    found = ", ".join(sorted(values)[:10]) or "none"
    text = f"{' and '.join(missing)} missing (columns: {found:.200})"
    return f"{text}; {advice}" if advice else text


def _same_shape_as_first(cleaned: dict[str, Any], facts: DataFacts) -> None:
    is_conversational = isinstance(next(iter(cleaned.values())), list)
    if facts.rows == 0:
        facts.is_conversational = is_conversational
    elif is_conversational != facts.is_conversational:
        raise RowFault("the first row is of the other kind (text or lists of turns); all rows must be alike")


def _fault_text(path: Path, *, data_format: DataFormatName, faults: list[str]) -> str:
    more = " (and perhaps more)" if len(faults) >= MAX_FAULTS_SHOWN else ""
    listed = "\n".join(f"  {fault}" for fault in faults)
    return f"{path.name} does not fit method sft with format {data_format}: {len(faults)} bad rows{more}\n{listed}"
