"""Writes the tables of docs/datasets.md from the tables that the check walks: `python -m tools.dataset_rules`."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stoker_dataset_gateway.checking.file_kinds import KINDS, PACKINGS
from stoker_dataset_gateway.checking.formats import COLUMNS, CONVERTED, SHAREGPT_ROLES
from stoker_dataset_gateway.checking.rules import GROUPS
from stoker_shared.recipe import FORMATS_OF_METHODS

DOCUMENT = Path(__file__).parent.parent / "docs" / "datasets.md"


def main() -> int:
    """Bring the document up to date."""
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
    print(f"written: {DOCUMENT.name}")
    return 0


def with_tables(text: str) -> str:
    """The document with each table between its marks as it should be."""
    for name, table in TABLES.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = before + start + table() + end + after
    return text


def file_kinds() -> str:
    """Kinds of files and their names."""
    packed = " or ".join(f"`{suffix}` ({packing})" for suffix, packing in PACKINGS.items())
    rows = [(kind.value, " ".join(f"`{suffix}`" for suffix in suffixes)) for kind, suffixes in KINDS.items()]
    return f"{_table(('kind', 'name ends in'), rows)}\nEach also compressed, with {packed} after that.\n"


def row_formats() -> str:
    """Formats of rows, and which methods learn from them."""
    return _table(
        ("format", "columns", "methods"),
        [
            (
                f"`{data_format}`",
                "; ".join(f"`{column}`: {kind}" for column, kind in columns.items()),
                ", ".join(method for method, formats in FORMATS_OF_METHODS.items() if data_format in formats),
            )
            for data_format, columns in COLUMNS.items()
        ],
    )


def conversions() -> str:
    """Shapes that are converted."""
    rows = [(f"`{name}`", f"`{becomes}`", columns) for name, (becomes, columns) in CONVERTED.items()]
    roles = ", ".join(f"`{theirs}` becomes `{ours}`" for theirs, ours in SHAREGPT_ROLES.items())
    return f"{_table(('conversion', 'becomes', 'columns'), rows)}\nRoles: {roles}.\n"


def rules() -> str:
    """All rules."""
    parts = []
    for title, group in GROUPS.items():
        listed = [(f"`{code}`", rule.message, rule.advice) for code, rule in group.items()]
        parts.append(f"### {title}\n\n{_table(('code', 'what is said', 'what to do'), listed)}")
    return "\n".join(parts)


TABLES: dict[str, Callable[[], str]] = {
    "file kinds": file_kinds,
    "row formats": row_formats,
    "conversions": conversions,
    "rules": rules,
}


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
