"""A pod's log by byte offsets, out of a stream that knows only events.

An offset counts the bytes of all lines since the pod was made, so every replica counts alike. Where the last piece
ended is remembered, so that a caller who reads on does not make RunPod tell everything again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stoker_deployer.providers.base import LogPiece
from stoker_deployer.providers.runpod.client import RunpodClient
from stoker_deployer.providers.runpod.streaming import LogLine, LogRefused, collect, follow

PIECE_BYTES = 256 * 1024
# What is behind this is not read through for the sake of an offset.
_MOST_BYTES = 16 << 20
_MOST_PODS = 1000
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LogPatience:
    """How long a stream that never ends is listened to: for the first line, after each, and in all."""

    first: timedelta = timedelta(seconds=4)
    quiet: timedelta = timedelta(seconds=1)
    whole: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Place:
    offset: int
    event_id: str


class PodLogs:
    """Pieces of the logs of one account's pods."""

    def __init__(self, client: RunpodClient, *, patience: LogPatience | None = None) -> None:
        self._client = client
        self._patience = patience or LogPatience()
        self._places: OrderedDict[str, _Place] = OrderedDict()

    async def piece(self, handle: str, *, offset: int) -> LogPiece:
        """Output from a byte offset on. Empty if there is none, or none to be had.

        Raises:
            ProviderError: RunPod cannot be asked.
        """
        place = self._places.get(handle)
        known = place if place is not None and place.offset == offset else None
        at = known.offset if known else 0
        try:
            lines = await self._read(handle, after=known, most_bytes=min(offset - at, _MOST_BYTES) + PIECE_BYTES)
        except LogRefused:
            # Perhaps the cursor is too old: the next call reads from the beginning.
            self._places.pop(handle, None)
            return LogPiece(text="", next_offset=offset)
        return self._cut(handle, lines, at=at, offset=offset)

    async def _read(self, handle: str, *, after: _Place | None, most_bytes: int) -> list[LogLine]:
        lines = follow(self._client, handle, since=_LONG_AGO, after=after.event_id if after else None)
        patience = self._patience
        return await collect(
            lines, first=patience.first, quiet=patience.quiet, whole=patience.whole, most_bytes=most_bytes
        )

    def _cut(self, handle: str, lines: Sequence[LogLine], *, at: int, offset: int) -> LogPiece:
        kept: list[bytes] = []
        for line in lines:
            text = line.text.encode()
            kept.append(text[max(offset - at, 0) :])
            at += len(text)
        if lines and lines[-1].event_id and at >= offset:
            self._remember(handle, _Place(at, lines[-1].event_id))
        # An offset may lie within a character if it was not ours.
        return LogPiece(text=b"".join(kept).decode(errors="replace"), next_offset=max(at, offset))

    def _remember(self, handle: str, place: _Place) -> None:
        self._places[handle] = place
        self._places.move_to_end(handle)
        while len(self._places) > _MOST_PODS:
            self._places.popitem(last=False)
