"""Reporting to the metrics service: a queue, a background thread, a spool on disk.

The training loop only puts a value into a queue. The thread numbers and stores what comes, then sends it; while the
service is away, everything waits on disk and nothing is sent twice under two numbers.
"""

import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stoker_trainer.delivery import Answer, Delivery, Verdict
from stoker_trainer.errors import TokenRejected
from stoker_trainer.landing import LandingTime, Part
from stoker_trainer.masking import Masker
from stoker_trainer.report import AlertLevel, Control, Phase, Progress, Values
from stoker_trainer.spool import Record, Spool

MAX_BATCH_BYTES = 256 * 1024
MAX_LINE_CHARACTERS = 8_000
LAST_LINES = 50
MAX_WAITING_IN_MEMORY = 20_000
"""Records kept in memory while the spool's disk is full; beyond it the oldest are lost."""

SECONDS_BETWEEN_LINES = 10.0
"""Each step's numbers are metrics; the log gets one line in this time."""

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0


@dataclass(frozen=True)
class Channel:
    """A kind of report: the last part of its address, and the JSON list that carries records (None: one alone)."""

    name: str
    list_name: str | None
    limit: int


METRICS = Channel("metrics", "points", 500)
LOGS = Channel("logs", "lines", 500)
ALERTS = Channel("alerts", None, 1)
HEARTBEATS = Channel("heartbeat", None, 1)
EXIT = Channel("exit", None, 1)
CHANNELS = (HEARTBEATS, METRICS, ALERTS, LOGS, EXIT)
"""In order of sending. Exit comes last: it says that nothing follows."""


@dataclass(frozen=True)
class ReporterSettings:
    """`metrics_url` ends in /metrics; the other addresses stand beside it, alerts may stand elsewhere.

    `sends_lines` is False where somebody else sends what is printed: a line would count twice.
    """

    metrics_url: str
    alerts_url: str
    attempt: int
    spool_folder: Path
    report_every: timedelta = timedelta(seconds=1)
    heartbeat_every: timedelta = timedelta(seconds=10)
    sends_lines: bool = True

    def address(self, channel: Channel) -> str:
        """Where a channel's reports go."""
        if channel is ALERTS:
            return self.alerts_url
        return self.metrics_url.rstrip("/").rpartition("/")[0] + f"/{channel.name}"


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
        self._delivery = delivery
        self._mask = masker
        self._echo = echo
        self._clock = clock
        self._queue: queue.SimpleQueue[tuple[Channel, dict[str, Any]]] = queue.SimpleQueue()
        self._unstored: deque[tuple[Channel, dict[str, Any]]] = deque(maxlen=MAX_WAITING_IN_MEMORY)
        self._spools = {channel: Spool(settings.spool_folder / channel.name) for channel in CHANNELS}
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._phase: Phase = "preparing"
        self._progress = Progress()
        self._landing = LandingTime()
        self._control = Control()
        self._is_rejected = False
        self._failures = dict.fromkeys(CHANNELS, 0)
        self._not_before = dict.fromkeys(CHANNELS, 0.0)
        self._next_heartbeat = 0.0
        self._next_line = 0.0
        self._limits: dict[Channel, int] = {}
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Begin to send: the first heartbeat goes out at once."""
        self._thread.start()

    def log(self, text: str) -> None:
        """Print lines of the trainer and send them."""
        for line in text.splitlines():
            self._echo(self._mask(line))
            self.line("trainer", line)

    def line(self, stream: str, text: str) -> None:
        """Send a line that is printed already."""
        text = self._mask(text)[:MAX_LINE_CHARACTERS]
        self._last_lines.append(text)
        if self._settings.sends_lines:
            self._put(LOGS, {"stream": stream, "text": text})

    def metrics(self, *, step: int, values: Values) -> None:
        """Queue the values of a step; now and then a line of the log says how far the run is."""
        self._put(METRICS, {"step": step, "values": values})
        if values.get("loss") is not None and self._clock() >= self._next_line:
            self._next_line = self._clock() + SECONDS_BETWEEN_LINES
            self.log(f"step {step} of {self._progress.total_steps}: loss {values['loss']:.4f}")

    def alert(self, level: AlertLevel, code: str, message: str) -> None:
        """Print and queue an alert."""
        self.log(f"{level} [{code}]: {message}")
        self._put(ALERTS, {"level": level, "code": code, "message": self._mask(message)[:MAX_LINE_CHARACTERS]})
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
        if self._is_rejected:
            raise TokenRejected("the metrics service")
        return self._control

    @property
    def last_lines(self) -> list[str]:
        """The newest log lines, oldest first, without secrets."""
        return list(self._last_lines)

    @property
    def is_drained(self) -> bool:
        """True when everything was taken."""
        return self._queue.empty() and not self._unstored and not any(map(len, self._spools.values()))

    def finish(self, exit_report: dict[str, Any], *, limit: timedelta) -> bool:
        """Store the exit report, then send all that waits, the exit report last, for at most `limit`.

        True when everything was taken. What was not stays in the spool for a later `flush`.
        """
        self._stop_thread()
        self._put(EXIT, exit_report)
        self._store_queued()
        return self.flush(limit=limit)

    def flush(self, *, limit: timedelta) -> bool:
        """Send what waits in the spool, trying again for at most `limit`. Stops the background thread."""
        self._stop_thread()
        self._store_queued()
        start = self._clock()
        end = start + limit.total_seconds()
        while not (self.is_drained or self._is_rejected):
            # In the second half the exit report need not wait for the others: it matters most.
            self._send_all(exit_waits=self._clock() < start + limit.total_seconds() / 2)
            self._store_queued()
            if self._clock() >= end:
                break
            time.sleep(0.02)  # allowed: time-not-passed-in, the loop ends by the clock that is passed in
        return self.is_drained

    def _put(self, channel: Channel, values: dict[str, Any]) -> None:
        self._queue.put((channel, {"at": datetime.now(UTC).isoformat(timespec="milliseconds")} | values))

    def _run(self) -> None:
        while not self._closing.is_set():
            self._beat_if_due()
            self._store_queued()
            self._send_all()
            self._wake.wait(self._settings.report_every.total_seconds())
            self._wake.clear()

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
        self._put(
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

    def _store_queued(self) -> None:
        while not self._queue.empty():
            self._unstored.append(self._queue.get())
        for channel in CHANNELS:
            batch = [values for kind, values in self._unstored if kind is channel]
            try:
                self._spools[channel].append(batch)
            except OSError as error:
                # Not through log(), which would come back here.
                self._echo(f"the report spool cannot be written, reports wait in memory: {error}")
                return
            self._unstored = deque((item for item in self._unstored if item[0] is not channel), MAX_WAITING_IN_MEMORY)

    def _send_all(self, *, exit_waits: bool = True) -> None:
        self._forget_old_heartbeats()
        for channel in CHANNELS:
            if channel is EXIT and exit_waits and any(len(self._spools[other]) for other in CHANNELS[:-1]):
                return
            self._send(channel)

    def _send(self, channel: Channel) -> None:
        while self._clock() >= self._not_before[channel] and not self._is_rejected:
            batch = self._next_batch(channel)
            if not batch:
                return
            answer = self._delivery.post(self._settings.address(channel), self._body(channel, batch))
            self._settle(channel, batch, answer)

    def _forget_old_heartbeats(self) -> None:
        spool = self._spools[HEARTBEATS]
        if len(spool) > 1:
            spool.acknowledge(spool.last_sequence - 1)

    def _next_batch(self, channel: Channel) -> list[Record]:
        limit = self._limits.get(channel, channel.limit)
        return self._spools[channel].peek(limit=limit, max_bytes=MAX_BATCH_BYTES)

    def _body(self, channel: Channel, batch: list[Record]) -> dict[str, Any]:
        attempt = {"attempt": self._settings.attempt}
        if channel.list_name is None:
            return attempt | batch[0].values
        return attempt | {channel.list_name: [record.values for record in batch]}

    def _settle(self, channel: Channel, batch: list[Record], answer: Answer) -> None:
        if answer.control is not None:
            self._control = answer.control
        match answer.verdict:
            case Verdict.DURABLE:
                self._limits.pop(channel, None)
                self._failures[channel] = 0
                self._spools[channel].acknowledge(batch[-1].sequence)
            case Verdict.TOKEN_REJECTED:
                self._is_rejected = True
            case Verdict.TOO_LARGE if len(batch) > 1:
                self._limits[channel] = max(1, len(batch) // 2)
            case Verdict.TOO_LARGE | Verdict.INVALID:
                self._drop(channel, batch, answer)
            case Verdict.UNREACHABLE:
                self._wait(channel, answer)
                self._not_before = dict.fromkeys(CHANNELS, self._not_before[channel])
            case _:
                self._wait(channel, answer)

    def _drop(self, channel: Channel, batch: list[Record], answer: Answer) -> None:
        self._spools[channel].acknowledge(batch[-1].sequence)
        self._limits.pop(channel, None)
        text = f"{len(batch)} {channel.name} records were refused and dropped: {self._mask(answer.detail)}"
        self._echo(text)
        if channel not in {ALERTS, LOGS}:  # an alert about a refused alert would never end
            self._put(ALERTS, {"level": "warning", "code": "report_refused", "message": text})

    def _wait(self, channel: Channel, answer: Answer) -> None:
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(self._failures[channel], 10))
        self._failures[channel] += 1
        if self._failures[channel] in {1, 10}:
            self._echo(self._mask(f"{channel.name} reports wait on disk: {answer.detail}"))
        # Jitter, so that many pods do not come back in the same instant.
        wait = answer.retry_after if answer.retry_after is not None else backoff * random.uniform(0.5, 1.0)  # noqa: S311
        self._not_before[channel] = self._clock() + wait
