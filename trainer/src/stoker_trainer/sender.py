"""Sending the backlog: in batches that are halved when they are too large, with longer and longer waits."""

import random
from collections.abc import Callable

from stoker_trainer.backlog import Backlog
from stoker_trainer.channels import ALERTS, CHANNELS, EXIT, LOGS, Channel, ReporterSettings
from stoker_trainer.console import Console
from stoker_trainer.delivery import Answer, Delivery, Verdict
from stoker_trainer.report import Control
from stoker_trainer.spool import Record

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0


class Sender:
    """Posts what waits and does what the answers say. For one thread at a time."""

    def __init__(
        self,
        settings: ReporterSettings,
        *,
        backlog: Backlog,
        delivery: Delivery,
        console: Console,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._backlog = backlog
        self._delivery = delivery
        self._console = console
        self._clock = clock
        self._failures = dict.fromkeys(CHANNELS, 0)
        self._not_before = dict.fromkeys(CHANNELS, 0.0)
        self._limits: dict[Channel, int] = {}
        self.control = Control()
        """The newest order."""
        self.is_rejected = False
        """True once the token was refused: nothing more is sent."""

    def send_all(self, *, exit_waits: bool = True) -> None:
        """Send each channel that may be sent now; the exit report only after all others, if it waits."""
        self._backlog.forget_old_heartbeats()
        for channel in CHANNELS:
            if channel is EXIT and exit_waits and any(map(self._backlog.waits, CHANNELS[:-1])):
                return
            self._send(channel)

    def _send(self, channel: Channel) -> None:
        while self._clock() >= self._not_before[channel] and not self.is_rejected:
            batch = self._backlog.next_batch(channel, limit=self._limits.get(channel, channel.limit))
            if not batch:
                return
            body = self._settings.body(channel, [record.values for record in batch])
            answer = self._delivery.post(self._settings.address(channel), body)
            self._settle(channel, batch, answer)

    def _settle(self, channel: Channel, batch: list[Record], answer: Answer) -> None:
        if answer.control is not None:
            self.control = answer.control
        match answer.verdict:
            case Verdict.DURABLE:
                self._limits.pop(channel, None)
                self._failures[channel] = 0
                self._backlog.forget(channel, up_to=batch[-1].sequence)
            case Verdict.TOKEN_REJECTED:
                self.is_rejected = True
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
        self._backlog.forget(channel, up_to=batch[-1].sequence)
        self._limits.pop(channel, None)
        text = f"{len(batch)} {channel.name} records were refused and dropped: {self._console.mask(answer.detail)}"
        self._console.say(text)
        if channel not in {ALERTS, LOGS}:  # an alert about a refused alert would never end
            self._backlog.put(ALERTS, {"level": "warning", "code": "report_refused", "message": text})

    def _wait(self, channel: Channel, answer: Answer) -> None:
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(self._failures[channel], 10))
        self._failures[channel] += 1
        if self._failures[channel] in {1, 10}:
            self._console.say(f"{channel.name} reports wait on disk: {answer.detail}")
        # Jitter, so that many pods do not come back in the same instant.
        wait = backoff * random.uniform(0.5, 1.0)  # noqa: S311
        if answer.retry_after is not None:
            wait = max(answer.retry_after, FIRST_BACKOFF)  # 0 would be a loop without rest
        self._not_before[channel] = self._clock() + wait
