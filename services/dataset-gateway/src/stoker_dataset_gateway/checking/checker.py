"""Checks stored files in child processes, so that the event loop keeps serving and no file can take the gateway down.

A job has a process of its own for as long as it runs. Processes wait warm for the next one; a process that is given up
(its caller went away, it fell silent, it died) is killed and another one takes its place. A file on which two processes
died is rejected with `check_failed`.
"""

import asyncio
import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.context import SpawnProcess
from threading import Lock

from anyio import to_thread

from stoker_dataset_gateway.checking.child import (
    Failed,
    Finished,
    Progress,
    Refused,
    Report,
    StoredFile,
    TokenJob,
    serve_checks,
)
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.result import CheckResult, check_failed
from stoker_dataset_gateway.errors import ChecksumMismatch, ObjectMissing, StoreUnavailable
from stoker_dataset_gateway.lengths.counting import TokenFigures
from stoker_shared.logging import get_logger

__all__ = ["Checker", "StoredFile", "TokenJob"]

logger = get_logger(__name__)

_TRIES = 2
_GRACE_SECONDS = 5
# A new process reads its modules before it can say anything; on a busy machine that takes a while.
_START_SECONDS = 120.0


class _ChildLost(Exception):
    """The process ended or fell silent before it had a result."""


class Checker:
    """A pool of `processes` children; more jobs wait."""

    def __init__(self, *, limits: CheckLimits, processes: int = 2) -> None:
        self._limits = limits
        self._room = asyncio.Semaphore(processes)
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._is_closed = False

    async def check(self, file: StoredFile, *, progress: Callable[[int], None] | None = None) -> CheckResult:
        """Read the object from the store and check every row. `progress` is told how many of its bytes were read.

        A caller that is cancelled ends the work at once.

        Raises:
            ChecksumMismatch: the store holds other bytes than announced.
            ObjectMissing, StoreUnavailable: the bytes could not be read.
        """
        async with self._room:
            reason = ""
            for attempt in range(1, _TRIES + 1):
                try:
                    result = await self._once(file, file, progress)
                except _ChildLost as lost:
                    reason = str(lost)
                    logger.warning("a check was lost", filename=file.filename, attempt=attempt, reason=reason)
                else:
                    assert isinstance(result, CheckResult)  # noqa: S101 - what a file is answered with
                    return result
            return check_failed(reason)

    async def count_tokens(self, job: TokenJob, *, within: timedelta) -> TokenFigures | None:
        """Count tokens in a child; None if that failed or took longer.

        Raises:
            ObjectMissing, StoreUnavailable: the bytes could not be read.
        """
        try:
            async with asyncio.timeout(within.total_seconds()), self._room:
                figures = await self._once(job, job.file, None)
        except (TimeoutError, _ChildLost) as lost:
            logger.warning("tokens were not counted", filename=job.file.filename, reason=str(lost) or "took too long")
            return None
        assert isinstance(figures, TokenFigures)  # noqa: S101 - what a token job is answered with
        return figures

    async def close(self) -> None:
        """End all processes. Cancel checks that still run before."""
        self._is_closed = True
        children = [*self._idle, *self._busy]
        self._idle, self._busy = [], set()
        await asyncio.gather(*(to_thread.run_sync(child.kill) for child in children))

    async def _once(
        self, job: StoredFile | TokenJob, file: StoredFile, progress: Callable[[int], None] | None
    ) -> CheckResult | TokenFigures:
        child = self._idle.pop() if self._idle else _Child(self._limits)
        self._busy.add(child)
        is_reusable = False
        try:
            await to_thread.run_sync(child.start)
            child.send(job)
            result = await self._converse(child, file, progress)
            is_reusable = True
        except (ChecksumMismatch, ObjectMissing, StoreUnavailable):
            is_reusable = True
            raise
        finally:
            self._busy.discard(child)
            if is_reusable and child.is_alive and not self._is_closed:
                self._idle.append(child)
            else:
                # Shielded: whoever cancels must not leave a process behind that nobody knows.
                await asyncio.shield(to_thread.run_sync(child.kill))
        return result

    async def _converse(
        self, child: "_Child", file: StoredFile, progress: Callable[[int], None] | None
    ) -> CheckResult | TokenFigures:
        while True:
            report = await child.receive(self._limits.silence.total_seconds())
            child.has_spoken = True
            if isinstance(report, Progress):
                if progress is not None:
                    progress(report.bytes_read)
            elif isinstance(report, Finished):
                return report.result
            else:
                _raise(report, file)


class _Child:
    """One process and the pipe to it. Whoever has one kills it, also while it starts or if it never did."""

    def __init__(self, limits: CheckLimits) -> None:
        # Spawned: a fork of a process with threads and an event loop may hang.
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=serve_checks, args=(self._theirs, limits), name="stoker-dataset-check", daemon=True
        )
        # A start takes a while, and a thread that starts a process cannot be called back.
        self._starting = Lock()
        self._is_given_up = False
        self.has_spoken = False

    def start(self) -> None:
        """Start the process, unless it runs or was given up."""
        with self._starting:
            if self._is_given_up or self._process.pid is not None:
                return
            self._process.start()
            self._theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Its number."""
        return self._process.pid

    def send(self, job: StoredFile | TokenJob) -> None:
        """Give it a job."""
        try:
            self._pipe.send(job)
        except OSError as error:  # it died while it waited
            self._process.join(_GRACE_SECONDS)
            raise _ChildLost(_end_of(self._process.exitcode)) from error

    async def receive(self, seconds: float) -> Report:
        """What it says next.

        Raises:
            _ChildLost: it died, or said nothing for so long.
        """
        seconds = seconds if self.has_spoken else max(seconds, _START_SECONDS)
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        descriptor = self._pipe.fileno()
        loop.add_reader(descriptor, ready.set)
        try:
            async with asyncio.timeout(seconds):
                await ready.wait()
            return await to_thread.run_sync(self._take, abandon_on_cancel=True)
        except TimeoutError:
            raise _ChildLost(f"no progress for {seconds:.0f} s") from None
        except (EOFError, OSError):
            await to_thread.run_sync(self._process.join, _GRACE_SECONDS)
            raise _ChildLost(_end_of(self._process.exitcode)) from None
        finally:
            loop.remove_reader(descriptor)

    def _take(self) -> Report:
        report: Report = self._pipe.recv()
        return report

    def kill(self) -> None:
        """End it now; one that is just being started, as soon as it has."""
        with self._starting:
            if self._is_given_up:
                return
            self._is_given_up = True
            if self._process.pid is not None:
                self._process.kill()
                self._process.join(_GRACE_SECONDS)
            self._pipe.close()
            self._theirs.close()
            if self._process.is_alive():
                logger.error("a child does not end", pid=self._process.pid)
            else:
                self._process.close()


def _raise(report: Refused | Failed, file: StoredFile) -> None:
    if isinstance(report, Failed):
        raise _ChildLost(report.reason)
    if report.kind == "checksum":
        raise ChecksumMismatch(announced=f"{file.size_bytes} bytes with SHA-256 {file.sha256}", received=report.detail)
    if report.kind == "missing":
        raise ObjectMissing(file.key)
    raise StoreUnavailable(report.detail)


def _end_of(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"the process was ended by signal {-exit_code}, as it is when memory runs out"
    return f"the process ended with code {exit_code}"
