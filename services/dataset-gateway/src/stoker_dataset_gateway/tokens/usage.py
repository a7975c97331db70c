"""What tokens were used for: gathered in memory, written every second or so, one statement for all."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from stoker_dataset_gateway.tokens.repository import TokenRepository, Usage
from stoker_shared.clock import Clock
from stoker_shared.database import Statements
from stoker_shared.errors import TransientError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)


@dataclass(slots=True)
class _Counted:
    uses: int = 0
    sent_bytes: int = 0
    used_at: datetime | None = None


class UsageLedger:
    """A process that is killed loses what it has not written, at most one interval. A database that is away loses
    nothing: what could not be written is kept for the next time.
    """

    def __init__(self, statements: Statements, *, clock: Clock, every: timedelta) -> None:
        self._statements = statements
        self._clock = clock
        self._every = every
        self._tokens = TokenRepository()
        self._counted: dict[str, _Counted] = defaultdict(_Counted)

    def count_use(self, token_hash: str) -> None:
        """A body is asked for with this token."""
        entry = self._counted[token_hash]
        entry.uses += 1
        entry.used_at = self._clock.now()

    def count_bytes(self, token_hash: str, count: int) -> None:
        """So many bytes went out."""
        self._counted[token_hash].sent_bytes += count

    async def run(self) -> None:
        """Write until cancelled; the caller writes once more when no download is left."""
        while True:
            await asyncio.sleep(self._every.total_seconds())
            await self.write()

    async def write(self) -> None:
        """Write what was counted since the last time."""
        counted, self._counted = self._counted, defaultdict(_Counted)
        if not counted:
            return
        rows = [
            Usage(token_hash=token, uses=entry.uses, sent_bytes=entry.sent_bytes, used_at=entry.used_at)
            for token, entry in sorted(counted.items())  # in one order, so that replicas do not lock each other out
        ]
        try:
            await self._tokens.add_usage(self._statements, rows)
        except TransientError as error:
            logger.warning("use of tokens not written yet", tokens=len(rows), reason=error.detail)
            self._put_back(counted)

    def _put_back(self, counted: dict[str, _Counted]) -> None:
        for token, earlier in counted.items():
            entry = self._counted[token]
            entry.uses += earlier.uses
            entry.sent_bytes += earlier.sent_bytes
            entry.used_at = entry.used_at or earlier.used_at
