"""From the store's socket to the client's inside the kernel: no byte passes through this process, no thread waits."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from stoker_dataset_gateway.errors import ClientGone, StoreUnavailable
from stoker_dataset_gateway.storage import ObjectSocket

PIPE_BYTES = 2**20
"""The most that waits between the two; the kernel may grant less."""

_F_SETPIPE_SZ = 1031
_SPLICE_F_MOVE, _SPLICE_F_NONBLOCK, _SPLICE_F_MORE = 1, 2, 4
_SPLICE = _SPLICE_F_MOVE | _SPLICE_F_NONBLOCK

CAN_RELAY = hasattr(os, "splice")
"""Linux only; elsewhere the bytes pass through this process."""


async def relay(
    source: ObjectSocket, target: int, count: int, *, on_sent: Callable[[int], None], idle_timeout: timedelta
) -> None:
    """Move `count` bytes from the store to the descriptor `target`, and tell `on_sent` as they leave.

    Raises:
        StoreUnavailable: the store broke off, or said nothing for `idle_timeout`.
        ClientGone: the client broke off, or took nothing for `idle_timeout`.
    """
    read_end, write_end = os.pipe()
    try:
        with suppress(OSError):  # over this user's quota of pipe pages: it works with less
            fcntl.fcntl(write_end, _F_SETPIPE_SZ, PIPE_BYTES)
        to_read, held = count, 0
        while to_read or held:
            taken = _take(source, write_end, min(to_read, PIPE_BYTES - held)) if to_read and held < PIPE_BYTES else 0
            to_read, held = to_read - taken, held + taken
            given = _give(read_end, target, held, is_more_to_come=to_read > 0) if held else 0
            held -= given
            if given:
                on_sent(given)
            await _until_possible(source, target, held=held, has_moved=bool(taken or given), idle_timeout=idle_timeout)
    finally:
        os.close(read_end)
        os.close(write_end)


def _take(source: ObjectSocket, pipe: int, most: int) -> int:
    try:
        taken = os.splice(source.fileno(), pipe, most, flags=_SPLICE)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise StoreUnavailable(type(error).__name__) from error
    if not taken:
        raise StoreUnavailable("it ended before all bytes had come")
    return taken


def _give(pipe: int, target: int, most: int, *, is_more_to_come: bool) -> int:
    try:
        return os.splice(pipe, target, most, flags=_SPLICE | (_SPLICE_F_MORE if is_more_to_come else 0))
    except BlockingIOError:
        return 0
    except OSError as error:
        raise ClientGone(type(error).__name__) from error


async def _until_possible(
    source: ObjectSocket, target: int, *, held: int, has_moved: bool, idle_timeout: timedelta
) -> None:
    if has_moved:
        await asyncio.sleep(0)  # others want to be served too
        return
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(idle_timeout.total_seconds()):
            if held:
                await _ready(loop.add_writer, loop.remove_writer, target)
            else:
                await _ready(loop.add_reader, loop.remove_reader, source.fileno())
    except TimeoutError as error:
        waited = f"nothing moved for {idle_timeout.total_seconds():.0f} s"
        raise (ClientGone(waited) if held else StoreUnavailable(waited)) from error


async def _ready(watch: Callable[..., None], forget: Callable[[int], bool], descriptor: int) -> None:
    is_ready = asyncio.Event()
    watch(descriptor, is_ready.set)
    try:
        await is_ready.wait()
    finally:
        forget(descriptor)
