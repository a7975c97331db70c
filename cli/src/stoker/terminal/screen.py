"""Where output goes: results to standard output, progress and errors to standard error."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel
from pydantic_core import to_json
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from stoker.client.client import UploadProgress

WIDTH_OF_FILES = 160
"""Columns of what is written to a file or a pipe, where nobody says how wide it is."""


def results() -> Console:
    """The console for results. Made for each command, so that it writes to the standard output of that moment."""
    return _console(is_error=False)


def remarks() -> Console:
    """The console for progress and errors."""
    return _console(is_error=True)


def _console(*, is_error: bool) -> Console:
    stream = sys.stderr if is_error else sys.stdout
    is_narrowed = stream.isatty() or "COLUMNS" in os.environ
    # Soft wrap: a line that is copied from the screen is whole.
    return Console(stderr=is_error, highlight=False, soft_wrap=True, width=None if is_narrowed else WIDTH_OF_FILES)


def print_json(content: BaseModel | Iterable[BaseModel]) -> None:
    """An object, or a list of them, as JSON for machines."""
    whole = content if isinstance(content, BaseModel) else list(content)
    # Not through rich, which would wrap long lines.
    print(to_json(whole, indent=2).decode())  # noqa: T201 - the result itself


@contextmanager
def transfer_progress(console: Console) -> Iterator[UploadProgress]:
    """A bar for each thing that bytes are moved for; nothing where there is no terminal."""
    columns = (
        TextColumn("{task.description:>24}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield tell
