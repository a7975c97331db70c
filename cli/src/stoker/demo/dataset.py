"""Questions and answers about Python's standard library, taken from its own docstrings.

`python -m stoker.demo.dataset FILE [NAME ...]` writes them, without those named. The demo runs it as a program of its
own: libraries that are loaded here may have replaced functions of the standard library by their own.
"""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stoker.demo.modules import MODULES

SHORTEST_ANSWER = 25
LONGEST_ANSWER = 260
"""In characters. With the question and the chat template a row then stays below about 140 tokens."""

_FUNCTION, _CLASS = "function", "class"
_QUESTIONS = {_FUNCTION: "What does `{name}` do?", _CLASS: "What is `{name}`?"}
_SENTENCE = re.compile(r"^[A-Z`'\"].*[.!]$", re.DOTALL)
_MACHINE_PATH = re.compile(r"0x[0-9a-f]{6,}|/(?:usr|home|opt|lib|tmp)/")


@dataclass(frozen=True, slots=True)
class Entry:
    """One documented thing: its full name, what it is, and the first paragraph of its docstring."""

    name: str
    kind: str
    module: str
    summary: str

    def row(self) -> dict[str, list[dict[str, str]]]:
        """The entry as one conversation, always in the same style."""
        question = _QUESTIONS[self.kind].format(name=self.name)
        answer = f"`{self.name}` is a {self.kind} in the module `{self.module}`. {self.summary}"
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write_dataset(file: Path, *, modules: Iterable[str] = MODULES, without: Collection[str] = ()) -> int:
    """Write one JSON line per documented function and class, leaving out those named; returns how many.

    The same Python version always writes the same bytes, in a process that has loaded nothing else.
    """
    rows = [json.dumps(entry.row(), ensure_ascii=False) for entry in documented(modules) if entry.name not in without]
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return len(rows)


def documented(modules: Iterable[str] = MODULES) -> list[Entry]:
    """Every documented public thing of the modules, sorted by name; no two have the same summary.

    Equal summaries would let the answer to a held-out question stand among the rows that are trained on.
    """
    by_summary: dict[str, Entry] = {}
    for entry in sorted(_all_entries(modules), key=lambda entry: entry.name):
        by_summary.setdefault(entry.summary.casefold(), entry)
    return sorted(by_summary.values(), key=lambda entry: entry.name)


def first_paragraph(docstring: str) -> str | None:
    """The first paragraph as one line, or None if it is no sentence of a useful length."""
    text = " ".join(docstring.strip().split("\n\n", maxsplit=1)[0].split())
    if not SHORTEST_ANSWER <= len(text) <= LONGEST_ANSWER:
        return None
    return text if _SENTENCE.match(text) and not _MACHINE_PATH.search(text) else None


def _all_entries(modules: Iterable[str]) -> Iterator[Entry]:
    for module in modules:
        for name, value in _public(importlib.import_module(module), module):
            # Nobody writes builtins.len.
            full_name = name if module == "builtins" else f"{module}.{name}"
            entry = _entry(full_name, module, value)
            if entry is not None:
                yield entry


def _public(module: object, module_name: str) -> Iterator[tuple[str, object]]:
    exported = getattr(module, "__all__", None)
    for name in sorted(exported or vars(module)):
        value = getattr(module, name, None)
        # Without __all__, what a module has imported from elsewhere looks like its own.
        is_own = exported is not None or getattr(value, "__module__", None) in {module_name, f"_{module_name}"}
        if not name.startswith("_") and is_own:
            yield name, value


def _entry(name: str, module: str, value: object) -> Entry | None:
    if not (inspect.isroutine(value) or inspect.isclass(value)):
        return None
    summary = _summary(value, name.rsplit(".", maxsplit=1)[-1])
    return Entry(name, _CLASS if inspect.isclass(value) else _FUNCTION, module, summary) if summary else None


def _summary(value: object, short_name: str) -> str | None:
    # Not inspect.getdoc: it hands out the docstring of a base class where there is none.
    text = getattr(value, "__doc__", None)
    if not isinstance(text, str):
        return None
    paragraph = first_paragraph(text)
    # Some docstrings begin with the signature, which is no sentence about the thing.
    return None if paragraph is None or paragraph.startswith(f"{short_name}(") else paragraph


if __name__ == "__main__":
    write_dataset(Path(sys.argv[1]), without=sys.argv[2:])
