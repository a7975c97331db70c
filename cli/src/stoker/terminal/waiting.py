"""A job that waits: its place in the queue is not told by events, so it is asked for while the job is queued."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stoker.client.errors import ClientError
from stoker.client.models import Job
from stoker.terminal.board import Board

LOOK_EVERY = 5.0


def waits_line(job: Job) -> str:
    """What a job waits for, "" if it does not wait."""
    if job.status != "queued" or job.queue is None:
        return ""
    return f"place {job.queue.position} in the queue: {job.queue.reason}"


@contextmanager
def waiting_shown(
    board: Board, look: Callable[[], Job], say: Callable[[str], None], *, every: float = LOOK_EVERY
) -> Iterator[None]:
    """While the block runs and the job is queued, keep its place on the board and say each change of it."""
    over = threading.Event()

    def follow() -> None:
        said = ""
        while True:
            board.queue = _waits_now(board, look)
            if board.queue and board.queue != said:
                say(board.queue)
            said = board.queue
            if over.wait(every):
                return

    thread = threading.Thread(target=follow, name="place in the queue", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=every)


def _waits_now(board: Board, look: Callable[[], Job]) -> str:
    if board.job.status != "queued":
        return ""
    try:
        return waits_line(look())
    except ClientError:  # the stream of events says that the server is away
        return board.queue
