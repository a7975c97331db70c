"""Reporting to the metrics service: a queue, a background thread, a spool on disk.

The training loop only puts a value into a queue. The thread numbers and stores what comes, then sends it; while the
service is away, everything waits on disk and nothing is sent twice under two numbers.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from stoker_trainer.backlog import Backlog
from stoker_trainer.channels import ALERTS, EXIT, HEARTBEATS, LOGS, METRICS, ReporterSettings
from stoker_trainer.console import Console
from stoker_trainer.delivery import Delivery
from stoker_trainer.errors import TokenRejected
from stoker_trainer.landing import LandingTime, Part
from stoker_trainer.masking import Masker
from stoker_trainer.report import AlertLevel, Control, Phase, Progress, Values
from stoker_trainer.sender import Sender

__all__ = ["Reporter", "ReporterSettings"]

MAX_LINE_CHARACTERS = 8_000
LAST_LINES = 50

SECONDS_BETWEEN_LINES = 10.0
"""Each step's numbers are metrics; the log gets one line in this time."""


class Reporter:
    """A Report that reaches the control plane. `start` it, and `finish` it at the very end."""

    def __init__(
        self,
        settings: ReporterSettings,
        *,
        delivery: Delivery,
        masker: Masker,
        echo: Callable[[str], object] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._mask = masker
        self._console = Console(echo, mask=masker)
        self._clock = clock
        self._backlog = Backlog(settings.spool_folder, console=self._console)
        self._sender = Sender(settings, backlog=self._backlog, delivery=delivery, console=self._console, clock=clock)
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._phase: Phase = "preparing"
        self._progress = Progress()
        self._landing = LandingTime()
        self._next_heartbeat = 0.0
        self._next_line = 0.0
        self._faults: set[str] = set()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Begin to send: the first heartbeat goes out at once."""
        self._thread.start()

    def log(self, text: str) -> None:
        """Print lines of the trainer and send them."""
        for line in text.splitlines():
            self._console.say(line)
            self.line("trainer", line)

    def line(self, stream: str, text: str) -> None:
        """Send a line that is printed already."""
        text = self._mask(text)[:MAX_LINE_CHARACTERS]
        self._last_lines.append(text)
        if self._settings.sends_lines:
            self._backlog.put(LOGS, {"stream": stream, "text": text})

    def metrics(self, *, step: int, values: Values) -> None:
        """Queue the values of a step; now and then a line of the log says how far the run is."""
        self._backlog.put(METRICS, {"step": step, "values": values})
        if values.get("loss") is not None and self._clock() >= self._next_line:
            self._next_line = self._clock() + SECONDS_BETWEEN_LINES
            self.log(f"step {step} of {self._progress.total_steps}: loss {values['loss']:.4f}")

    def alert(self, level: AlertLevel, code: str, message: str) -> None:
        """Print and queue an alert."""
        self.log(f"{level} [{code}]: {message}")
        self._backlog.put(ALERTS, {"level": level, "code": code, "message": self._mask(message)[:MAX_LINE_CHARACTERS]})
        self._wake.set()

    def phase(self, phase: Phase) -> None:
        """Enter a phase; a heartbeat says so at once."""
        self.log(f"== {phase} ==")
        self._phase = phase
        self._next_heartbeat = 0.0
        self._wake.set()

    def progress(self, progress: Progress) -> None:
        """Note progress for the next heartbeat."""
        self._progress = progress

    def took(self, part: Part, seconds: float) -> None:
        """Note what a part of landing takes for the next heartbeat."""
        self._landing.took(part, seconds)

    def control(self) -> Control:
        """The newest order. Raises TokenRejected."""
        if self._sender.is_rejected:
            raise TokenRejected("the metrics service")
        return self._sender.control

    @property
    def last_lines(self) -> list[str]:
        """The newest log lines, oldest first, without secrets."""
        return list(self._last_lines)

    @property
    def is_drained(self) -> bool:
        """True when everything was taken."""
        return self._backlog.is_empty

    def turn(self) -> None:
        """What the background thread does again and again. For a caller with a clock of its own, without `start`."""
        for part in (self._beat_if_due, self._backlog.store, self._sender.send_all):
            self._guarded(part)

    def finish(self, exit_report: dict[str, Any], *, limit: timedelta) -> bool:
        """Store the exit report, then send all that waits, the exit report last, for at most `limit`.

        True when everything was taken. What was not stays in the spool for a later `flush`.
        """
        self._stop_thread()
        self._backlog.put(EXIT, exit_report)
        return self.flush(limit=limit)

    def flush(self, *, limit: timedelta) -> bool:
        """Send what waits in the spool, trying again for at most `limit`. Stops the background thread."""
        self._stop_thread()
        self._guarded(self._backlog.store)
        start = self._clock()
        end = start + limit.total_seconds()
        while not (self.is_drained or self._sender.is_rejected):
            # In the second half the exit report need not wait for the others: it matters most.
            exit_waits = self._clock() < start + limit.total_seconds() / 2
            self._guarded(partial(self._sender.send_all, exit_waits=exit_waits))
            self._guarded(self._backlog.store)
            if self._clock() >= end:
                break
            time.sleep(0.02)  # allowed: time-not-passed-in, the loop ends by the clock that is passed in
        return self.is_drained

    def _run(self) -> None:
        while not self._closing.is_set():
            self.turn()
            self._wake.wait(self._settings.report_every.total_seconds())
            self._wake.clear()

    def _guarded(self, part: Callable[[], object]) -> None:
        # A fault nobody thought of: a person is told once of each kind, and the rest of the reports goes on.
        try:
            part()
        except Exception as error:  # noqa: BLE001 - a thread that ends here would end all reports, unseen
            kind = type(error).__name__
            if kind not in self._faults:
                self._faults.add(kind)
                self.alert("error", "reporter_failed", f"the reporter failed and goes on: {kind}: {error}")

    def _stop_thread(self) -> None:
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _beat_if_due(self) -> None:
        if self._clock() < self._next_heartbeat:
            return
        self._next_heartbeat = self._clock() + self._settings.heartbeat_every.total_seconds()
        progress = self._progress
        self._backlog.put(
            HEARTBEATS,
            {
                "phase": self._phase,
                "step": progress.step,
                "total_steps": progress.total_steps,
                "seconds_left": progress.seconds_left,
                "tokens_per_second": progress.tokens_per_second,
                "landing_seconds": self._landing.seconds,
            },
        )
