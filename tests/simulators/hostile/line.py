"""The line between one deployer and the world. At each point of it the deployer may die, stall or be cut.

Points are passed in a fixed order (before and after each call, each transaction): a history can be played again.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_shared.database import Database
from stoker_shared.errors import ServiceUnavailable

# Turns of the event loop in which all that waits for nobody outside has come to its end.
_TURNS = 40


class Killed(BaseException):
    """The process is gone: nothing that it would do next happens. Not an `Exception`, so that nobody handles it."""


class Cut(Exception):
    """The connection broke at this point."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens at the point with this number, counted from 0 in each piece of work."""

    kind: Literal["kill", "stall", "cut"]
    at: int


@dataclass
class Work:
    """One piece of work of a deployer, with the tasks that it starts."""

    fate: Fate | None = None
    places: list[str] = field(default_factory=list)
    """The points passed."""
    transactions: int = 0
    """Those under way: until they end, nothing can be said of what comes next."""
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    stalled_at: list[str] = field(default_factory=list)
    """The points of what is waiting."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def begin(self, deed: Coroutine[Any, Any, None]) -> bool:
        """Do it, until it is done or stalls. True if it is done."""
        _WORK.set(self)
        self.task = asyncio.create_task(deed)
        return await self._rest(self.task)

    async def resume(self) -> bool:
        """Go on after a stall. True if it is done."""
        for future in self.waiting:
            future.set_result(None)
        self.waiting, self.stalled_at = [], []
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        assert self.task is not None
        return await self._rest(self.task)

    async def _rest(self, task: "asyncio.Task[None]") -> bool:
        while not task.done():
            self.changed.clear()
            if self.waiting and not self.transactions:
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                if not task.done() and not self.transactions:
                    return False
            elif self.fate is not None and self.fate.kind == "stall":
                change = asyncio.ensure_future(self.changed.wait())
                await asyncio.wait({task, change}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
            else:
                await asyncio.wait({task})
        return True


_WORK: ContextVar[Work | None] = ContextVar("work", default=None)


class Line:
    """Everything that a deployer asks of the outside passes here."""

    def __init__(self) -> None:
        self.is_dead = False

    async def reach(self, place: str, *, may_stall: bool = True) -> None:
        """A point of the line.

        Raises:
            Killed: the deployer is dead from here on.
            Cut: the connection broke.
        """
        if self.is_dead:
            raise Killed(place)
        work = _WORK.get()
        if work is None:
            return
        work.places.append(place)
        fate = work.fate
        if fate is None or len(work.places) <= fate.at or (fate.kind == "stall" and not may_stall):
            return
        work.fate = None if fate.kind != "stall" else Fate("stall", 10**9)
        work.places.append(fate.kind)
        match fate.kind:
            case "kill":
                self.is_dead = True
                raise Killed(place)
            case "cut":
                raise Cut(place)
            case "stall":
                await self._stall(work, place)

    async def _stall(self, work: Work, place: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        work.waiting.append(future)
        work.stalled_at.append(place)
        work.changed.set()
        await future
        if self.is_dead:
            raise Killed(place)


class LinedDatabase(Database):
    """The real database at the end of a line; many share one engine."""

    def __init__(self, shared: Database, line: Line) -> None:
        self._shared = shared
        self._line = line

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A real transaction. It never stalls inside: PostgreSQL would end it, and here it would hold up the others."""
        await self._reach("begin")
        work = _WORK.get() or Work()
        work.transactions += 1
        try:
            async with self._shared.transaction() as session:
                yield session
                await self._reach("commit", may_stall=False)
        finally:
            work.transactions -= 1
            work.changed.set()
        await self._reach("committed")

    async def close(self) -> None:
        """The engine belongs to all."""

    async def _reach(self, place: str, *, may_stall: bool = True) -> None:
        try:
            await self._line.reach(place, may_stall=may_stall)
        except Cut as error:
            raise ServiceUnavailable("PostgreSQL", place) from error
