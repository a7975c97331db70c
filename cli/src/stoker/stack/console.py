"""What `stoker up` shows: a live table on a terminal, a line for each change elsewhere."""

import logging
import time
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stoker.stack.layout import Layout
from stoker.stack.supervised import ProcessState, ProcessStatus

STYLES: dict[ProcessState, str] = {
    ProcessState.WAITING: "dim",
    ProcessState.STARTING: "yellow",
    ProcessState.READY: "green",
    ProcessState.UNREADY: "yellow",
    ProcessState.RESTARTING: "yellow",
    ProcessState.FAILED: "bold red",
    ProcessState.STOPPING: "yellow",
    ProcessState.STOPPED: "dim",
}
SHOWN_NOTICES = 6


class StackConsole(Protocol):
    """An observer of a stack that shows it. `ready` is called when all of it runs."""

    def status(self, status: ProcessStatus) -> None:
        """A process changed."""
        ...

    def notice(self, text: str) -> None:
        """Something the user should know."""
        ...

    def ready(self, urls: Mapping[str, str]) -> None:
        """Everything runs."""
        ...

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, leaving the last state on the screen."""
        ...


def make_console(console: Console, layout: Layout, *, plain: bool) -> StackConsole:
    """The table on a terminal, lines if `plain` or if nobody looks at a terminal."""
    if plain or not console.is_terminal:
        return PlainConsole(console, layout)
    return LiveConsole(console, layout)


class PlainConsole:
    """One line for each change."""

    def __init__(self, console: Console, layout: Layout) -> None:
        self._console = console
        self._layout = layout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def status(self, status: ProcessStatus) -> None:
        """A process changed."""
        if status.state is not ProcessState.WAITING:
            self._say(describe_status(status))

    def notice(self, text: str) -> None:
        """Something the user should know."""
        self._say(text)

    def ready(self, urls: Mapping[str, str]) -> None:
        """Everything runs."""
        for name, text in guide(urls, self._layout):
            self._say(f"{name}: {text}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._console.file.flush()


class LiveConsole:
    """One table that changes in place."""

    def __init__(self, console: Console, layout: Layout) -> None:
        self._layout = layout
        self._statuses: dict[str, ProcessStatus] = {}
        self._notices: list[str] = []
        self._urls: Mapping[str, str] = {}
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def status(self, status: ProcessStatus) -> None:
        """A process changed."""
        self._statuses[status.name] = status

    def notice(self, text: str) -> None:
        """Something the user should know."""
        self._notices = [*self._notices, text][-SHOWN_NOTICES:]

    def ready(self, urls: Mapping[str, str]) -> None:
        """Everything runs."""
        self._urls = urls

    def render(self) -> RenderableType:
        """The screen as it should be now."""
        table = Table(box=None, pad_edge=False)
        for heading in ("process", "state", "pid", "port", "restarts", "up for", ""):
            table.add_column(heading, header_style="bold")
        for status in self._statuses.values():
            table.add_row(*_cells(status))
        notices = [Text(text, style="yellow") for text in self._notices]
        guidance = [
            Text(f"{name:<14} {text}") for name, text in (guide(self._urls, self._layout) if self._urls else ())
        ]
        return Group(table, Text(), *notices, *guidance)


class LoggedConsole:
    """Shows everything on another console and keeps it in a log."""

    def __init__(self, shown: StackConsole, log: logging.Logger) -> None:
        self._shown = shown
        self._log = log

    def status(self, status: ProcessStatus) -> None:
        """A process changed."""
        self._log.info(describe_status(status))
        self._shown.status(status)

    def notice(self, text: str) -> None:
        """Something the user should know."""
        self._log.warning(text)
        self._shown.notice(text)


def open_stack_log(file: Path, *, rotate_above: int) -> logging.Logger:
    """The supervisor's own log."""
    log = logging.getLogger("stoker.stack.supervisor")
    handler = RotatingFileHandler(file, maxBytes=rotate_above, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)
    return log


def describe_status(status: ProcessStatus) -> str:
    """A status as one line."""
    facts = [f"pid {status.pid}" if status.pid else "", f"port {status.port}" if status.port else ""]
    facts.append(f"restarts {status.restarts}" if status.restarts else "")
    shown = ", ".join(fact for fact in facts if fact)
    return " ".join(
        part for part in (f"{status.name}: {status.state}", f"({shown})" if shown else "", status.note) if part
    )


def guide(urls: Mapping[str, str], layout: Layout) -> tuple[tuple[str, str], ...]:
    """What to do with a running stack."""
    api = urls.get("api", "")
    return (
        ("dashboard, API", api),
        ("API docs", f"{api}/docs"),
        ("data folder", str(layout.root)),
        ("API key file", str(layout.api_key_file)),
        ("next", "stoker doctor (in another window); Ctrl-C stops everything"),
    )


def _cells(status: ProcessStatus) -> tuple[RenderableType, ...]:
    uptime = f"{time.monotonic() - status.since:.0f} s" if status.since is not None else ""
    return (
        Text(status.name),
        Text(str(status.state), style=STYLES[status.state]),
        Text(str(status.pid or "")),
        Text(str(status.port or "")),
        Text(str(status.restarts or "")),
        Text(uptime),
        Text(status.note),
    )
