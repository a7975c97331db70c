"""`stack.json`: how the CLI, tests and people find a running stack. It holds no secret."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stoker.stack.errors import StackNotRunning, StateFileDamaged
from stoker.stack.layout import Layout, read_json, write_private
from stoker.stack.lock import lock_holder

VERSION = 1


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """A process of a running stack."""

    name: str
    pid: int | None
    port: int | None


@dataclass(frozen=True, slots=True)
class StackFile:
    """A running stack: the supervisor's pid, addresses by service, processes, and where the user's API key is."""

    pid: int
    urls: Mapping[str, str]
    processes: tuple[ProcessEntry, ...]
    api_key_file: Path

    def write(self, file: Path) -> None:
        """Replace the file in one step."""
        content = {
            "version": VERSION,
            "pid": self.pid,
            "urls": dict(self.urls),
            "processes": {entry.name: {"pid": entry.pid, "port": entry.port} for entry in self.processes},
            "api_key_file": str(self.api_key_file),
        }
        write_private(file, json.dumps(content, indent=1))


def read_stack_file(file: Path) -> StackFile | None:
    """What is written about a stack, running or not; None if there is no file.

    Raises:
        StateFileDamaged: the file is unreadable.
    """
    content = read_json(file)
    if content is None:
        return None
    try:
        return StackFile(
            pid=int(content["pid"]),
            urls={str(name): str(url) for name, url in content["urls"].items()},
            processes=tuple(_entries(content["processes"].items())),
            api_key_file=Path(content["api_key_file"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateFileDamaged(file, f"not written by stoker up ({type(error).__name__})") from error


def find_stack(data_dir: Path) -> StackFile:
    """The stack that runs on a data folder.

    Raises:
        StackNotRunning: none does, or it is still starting.
        StateFileDamaged: its file is unreadable.
    """
    layout = Layout(data_dir)
    found = read_stack_file(layout.stack_file)
    if found is None or lock_holder(layout.lock_file) is None:
        raise StackNotRunning(layout.root)
    return found


def _entries(items: Iterable[tuple[str, dict[str, int | None]]]) -> Iterable[ProcessEntry]:
    for name, entry in items:
        yield ProcessEntry(str(name), entry["pid"], entry["port"])
