"""The checker on a real store: results, wrong bytes, and children that die, hang or are abandoned."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta

import psutil
import pytest
from pydantic import SecretStr

from stoker_dataset_gateway.checking import CheckLimits
from stoker_dataset_gateway.checking.checker import Checker, StoredFile
from stoker_dataset_gateway.errors import ChecksumMismatch, ObjectMissing, StoreUnavailable
from stoker_shared.object_store.address import StoreAddress
from tests.support.servers import TestBucket

ROWS = [{"prompt": f"question {number}", "completion": f"answer {number}"} for number in range(300)]
GOOD = "\n".join(json.dumps(row) for row in ROWS).encode()


def address(bucket: TestBucket) -> StoreAddress:
    return StoreAddress(
        endpoint=bucket.endpoint,
        access_key=SecretStr(bucket.access_key),
        secret_key=SecretStr(bucket.secret_key),
        bucket=bucket.bucket,
        region=bucket.region,
        is_secure=bucket.secure,
    )


def put(bucket: TestBucket, content: bytes, *, filename: str = "rows.jsonl") -> StoredFile:
    key = f"incoming/{hashlib.sha256(content).hexdigest()[:8]}"
    bucket.client().put_object(bucket.bucket, key, io.BytesIO(content), len(content))
    digest = hashlib.sha256(content).hexdigest()
    return StoredFile(address(bucket), key, filename, digest, len(content))


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    checker = Checker(limits=CheckLimits(), processes=2)
    yield checker
    await checker.close()
    assert not children()


@pytest.fixture
async def small_checker() -> AsyncIterator[Checker]:
    """One process, given up after a silence that a slow machine's start of a process stays below."""
    checker = Checker(limits=CheckLimits(silence=timedelta(seconds=10)), processes=1)
    yield checker
    await checker.close()
    assert not children()


def children() -> list[psutil.Process]:
    """Children of this process that check, the resource tracker left out."""
    return [child for child in psutil.Process().children() if _checks(child)]


def _checks(child: psutil.Process) -> bool:
    try:
        return "multiprocessing.spawn" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # it has ended since it was listed; a zombie counts as that
        return False


async def one_child() -> psutil.Process:
    """The child, as soon as there is one."""
    while not children():  # noqa: ASYNC110 - no event tells of a new process
        await asyncio.sleep(0.01)
    return children()[0]


async def test_a_stored_file_is_checked_and_progress_is_told(object_store: TestBucket, checker: Checker) -> None:
    told: list[int] = []
    result = await checker.check(put(object_store, GOOD), progress=told.append)
    assert (result.faults, result.statistics.rows, result.fits_methods) == ([], 300, ["sft"])
    assert told[-1] == len(GOOD)
    packed = await checker.check(put(object_store, gzip.compress(GOOD), filename="rows.jsonl.gz"))
    assert packed == result
    faulty = await checker.check(put(object_store, GOOD + b"\n{"))
    assert [(fault.line, fault.code) for fault in faulty.faults] == [(301, "invalid_json")]


async def test_other_bytes_than_announced_are_not_judged(object_store: TestBucket, checker: Checker) -> None:
    stored = put(object_store, GOOD)
    wrong = StoredFile(stored.address, stored.key, stored.filename, "0" * 64, stored.size_bytes)
    with pytest.raises(ChecksumMismatch):
        await checker.check(wrong)
    # Also if the check has given up long before the end.
    hopeless = StoredFile(stored.address, stored.key, "rows.csv.gz", "0" * 64, stored.size_bytes)
    with pytest.raises(ChecksumMismatch):
        await checker.check(hopeless)
    missing = StoredFile(stored.address, "incoming/none", stored.filename, stored.sha256, stored.size_bytes)
    with pytest.raises(ObjectMissing):
        await checker.check(missing)
    assert (await checker.check(stored)).faults == []


async def test_a_store_that_is_away_is_no_verdict(object_store: TestBucket, checker: Checker) -> None:
    stored = put(object_store, GOOD)
    object_store.server.kill()
    with pytest.raises(StoreUnavailable):
        await checker.check(stored)
    object_store.server.start()
    assert (await checker.check(stored)).faults == []


async def test_a_killed_child_is_replaced_and_the_file_checked_again(
    object_store: TestBucket, checker: Checker
) -> None:
    stored = put(object_store, GOOD)
    await checker.check(stored)
    (warm,) = children()
    running = asyncio.create_task(checker.check(stored))
    os.kill(warm.pid, signal.SIGKILL)
    assert (await running).faults == []
    assert warm.pid not in [child.pid for child in children()]


async def test_a_file_on_which_two_children_die_is_rejected_with_the_reason(
    object_store: TestBucket, checker: Checker
) -> None:
    running = asyncio.create_task(checker.check(put(object_store, GOOD)))
    killed = set()
    while not running.done():
        for child in children():
            child.kill()
            killed.add(child.pid)
        await asyncio.sleep(0.01)
    result = await running
    assert result.fault_counts == {"check_failed": 1}
    assert "signal 9" in result.faults[0].message
    assert len(killed) == 2


async def test_a_row_that_takes_all_memory_ends_as_a_clear_fault(object_store: TestBucket) -> None:
    limits = CheckLimits(line_bytes=10**9, memory_bytes=2_000_000_000)
    checker = Checker(limits=limits, processes=1)
    bomb = gzip.compress(b'{"text": "' + b"x" * 800_000_000, compresslevel=1)
    result = await checker.check(put(object_store, bomb, filename="bomb.jsonl.gz"))
    await checker.close()
    assert result.fault_counts == {"check_failed": 1}
    assert "memory" in result.faults[0].message


async def test_a_child_that_hangs_is_given_up(object_store: TestBucket, small_checker: Checker) -> None:
    checker = small_checker
    stored = put(object_store, GOOD)
    await checker.check(stored)
    (warm,) = children()
    warm.suspend()
    result = await checker.check(stored)
    assert result.faults == []
    assert not psutil.pid_exists(warm.pid)


async def test_an_abandoned_check_leaves_no_process_and_its_place_is_free(
    object_store: TestBucket, small_checker: Checker
) -> None:
    checker = small_checker
    stored = put(object_store, GOOD)
    running = asyncio.create_task(checker.check(stored))
    child = await one_child()
    child.suspend()  # so that it is certain to be in the middle
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not psutil.pid_exists(child.pid)
    assert (await checker.check(stored)).faults == []


async def test_a_check_that_is_abandoned_while_its_process_starts_leaves_none(
    object_store: TestBucket, small_checker: Checker
) -> None:
    stored = put(object_store, GOOD)
    running = asyncio.create_task(small_checker.check(stored))
    while not small_checker._busy:  # noqa: ASYNC110 - no event tells of the moment before the start
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await small_checker.check(stored)).faults == []
    assert len(children()) == 1


async def test_the_event_loop_keeps_turning_while_a_file_is_checked(object_store: TestBucket, checker: Checker) -> None:
    stored = put(object_store, b"\n".join([GOOD] * 100))
    await checker.check(put(object_store, GOOD))
    running = asyncio.create_task(checker.check(stored))
    longest, before = 0.0, asyncio.get_running_loop().time()
    while not running.done():
        await asyncio.sleep(0.005)
        now = asyncio.get_running_loop().time()
        longest, before = max(longest, now - before), now
    assert (await running).statistics.duplicate_rows == 300 * 99
    assert longest < 0.5
