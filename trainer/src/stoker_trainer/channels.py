"""The kinds of reports, and where each goes."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True)
class Channel:
    """A kind of report: the last part of its address, and the JSON list that carries records (None: one alone).

    `spare`: how many may be sent from memory alone while the disk is full. Without heartbeats a pod is taken for lost,
    and a full disk is often what the exit report tells of. Points and lines wait for room, since a restart must leave
    no gap in their numbers.
    """

    name: str
    list_name: str | None
    limit: int
    spare: int = 0


METRICS = Channel("metrics", "points", 500)
LOGS = Channel("logs", "lines", 500)
ALERTS = Channel("alerts", None, 1, spare=1_000)
HEARTBEATS = Channel("heartbeat", None, 1, spare=1_000)
EXIT = Channel("exit", None, 1, spare=10)
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

    def body(self, channel: Channel, batch: list[dict[str, object]]) -> dict[str, object]:
        """A batch as one report."""
        attempt: dict[str, object] = {"attempt": self.attempt}
        return attempt | (batch[0] if channel.list_name is None else {channel.list_name: batch})
