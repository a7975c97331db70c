"""One file of the corpus, and what becomes of it."""

from dataclasses import dataclass, field
from typing import Any, Literal

from stoker_dataset_gateway.checking import CheckLimits
from tests.support.corpus.writing import Rows, json_lines


@dataclass(frozen=True)
class Case:
    """A file and the verdicts that it must get.

    `faults` are the codes of all its faults at the gateway; none means that it passes.
    `read_as` is how the trainer is told to read a file that fails (it must refuse it all the same).
    `trl` says what TRL does with the rows as a loader without our checks gives them: it `trains`, it `refuses`
    (raises, or runs no step), or it `accepts` what our check refuses, and then `why` says why we are stricter.
    `trl` is None where there is nothing to give to TRL, since no loader gets rows out of the file.
    """

    name: str
    filename: str
    content: bytes
    data_format: str
    conversion: str | None = None
    faults: frozenset[str] = frozenset()
    trl: Literal["trains", "refuses", "accepts"] | None = "trains"
    why: str = ""
    is_converted_if_possible: bool = True
    limits: CheckLimits = field(default_factory=CheckLimits)
    warnings: frozenset[str] = frozenset()

    @property
    def is_good(self) -> bool:
        """Whether it must pass and train."""
        return not self.faults

    def __str__(self) -> str:
        return self.name


def good(name: str, data_format: str, rows: Rows, *, warns: str = "", conversion: str | None = None) -> Case:
    """Rows that pass and train, as JSON Lines."""
    return Case(
        name,
        "data.jsonl",
        json_lines(rows),
        data_format,
        conversion=conversion,
        warnings=frozenset(warns.split()),
    )


def good_file(name: str, filename: str, content: bytes, data_format: str, *, conversion: str | None = None) -> Case:
    """A file of any kind that passes and trains."""
    return Case(name, filename, content, data_format, conversion=conversion)


def bad(name: str, data_format: str, rows: list[Any], *, faults: str, stricter_since: str = "") -> Case:
    """Rows that fail, as JSON Lines. With `stricter_since` TRL would train on them."""
    return Case(
        name,
        "data.jsonl",
        json_lines(rows),
        data_format,
        faults=frozenset(faults.split()),
        trl="accepts" if stricter_since else "refuses",
        why=stricter_since,
    )


def bad_file(name: str, filename: str, content: bytes, *, faults: str, data_format: str = "prompt_completion") -> Case:
    """A file that no loader should get all rows of."""
    return Case(name, filename, content, data_format, faults=frozenset(faults.split()), trl=None)


def turn(role: Any, content: Any, **more: Any) -> dict[str, Any]:
    """One turn."""
    return {"role": role, "content": content, **more}


def user(content: Any) -> dict[str, Any]:
    """A turn of the user."""
    return turn("user", content)


def assistant(content: Any) -> dict[str, Any]:
    """A turn of the assistant."""
    return turn("assistant", content)
