"""What was reported and is not taken yet, by channel: queued, then numbered and stored by the spools."""

import json
import queue
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stoker_trainer.channels import CHANNELS, HEARTBEATS, Channel
from stoker_trainer.console import Console
from stoker_trainer.spool import Record, Spool

MAX_BATCH_BYTES = 256 * 1024
MAX_WAITING_IN_MEMORY = 20_000
"""Records kept in memory while the spool's disk is full; beyond it the oldest are lost."""


class Backlog:
    """A queue for any thread, and a spool for each channel. All but `put` are for one thread at a time."""

    def __init__(self, folder: Path, *, console: Console) -> None:
        self._console = console
        self._queue: queue.SimpleQueue[tuple[Channel, dict[str, Any]]] = queue.SimpleQueue()
        self._unstored: deque[tuple[Channel, dict[str, Any]]] = deque(maxlen=MAX_WAITING_IN_MEMORY)
        self._is_full = False
        self._spools = {channel: Spool(folder / channel.name, spare=channel.spare) for channel in CHANNELS}

    @property
    def is_empty(self) -> bool:
        """True when everything was taken."""
        return self._queue.empty() and not self._unstored and not any(map(len, self._spools.values()))

    def waits(self, channel: Channel) -> bool:
        """Whether stored records of a channel wait."""
        return len(self._spools[channel]) > 0

    def put(self, channel: Channel, values: dict[str, Any]) -> None:
        """Queue a record of this moment. Never blocks."""
        self._queue.put((channel, {"at": datetime.now(UTC).isoformat(timespec="milliseconds")} | values))

    def store(self) -> None:
        """Write what is queued to the spools."""
        while not self._queue.empty():
            self._unstored.append(self._queue.get())
        faults = [str(error) for channel in CHANNELS if (error := self._stored(channel))]
        if faults and not self._is_full:
            self._console.say(f"the report spool cannot be written, points and lines wait in memory: {faults[0]}")
        if self._is_full and not faults:
            self._console.say("the report spool can be written again")
        self._is_full = bool(faults)

    def _stored(self, channel: Channel) -> OSError | None:
        batch = [values for kind, values in self._unstored if kind is channel]
        if not batch:
            return None
        try:
            self._spools[channel].append(batch)
        except OSError as error:
            return error
        except (TypeError, ValueError) as error:
            self._store_each(channel, batch, error)
        self._unstored = deque((item for item in self._unstored if item[0] is not channel), MAX_WAITING_IN_MEMORY)
        return None

    def _store_each(self, channel: Channel, batch: list[dict[str, Any]], error: Exception) -> None:
        # One that is no JSON must not hold up all others.
        self._console.say(f"error [report_unwritable]: a {channel.name} record is left out: {error}")
        self._spools[channel].append([values for values in batch if _is_json(values)])

    def next_batch(self, channel: Channel, *, limit: int) -> list[Record]:
        """The oldest records of a channel; at least one if there is any."""
        return self._spools[channel].peek(limit=limit, max_bytes=MAX_BATCH_BYTES)

    def forget(self, channel: Channel, *, up_to: int) -> None:
        """Records up to this number are durable elsewhere, or given up."""
        self._spools[channel].acknowledge(up_to)

    def forget_old_heartbeats(self) -> None:
        """Of heartbeats only the newest says anything."""
        spool = self._spools[HEARTBEATS]
        if len(spool) > 1:
            spool.acknowledge(spool.last_sequence - 1)


def _is_json(values: dict[str, Any]) -> bool:
    try:
        json.dumps(values)
    except (TypeError, ValueError):
        return False
    return True
