"""A job that waits shows its place, each change of it once, and only while it waits."""

import threading
from collections.abc import Iterator

from stoker.client.errors import ConnectionLost
from stoker.client.models import Job, QueuePosition
from stoker.terminal.board import Board
from stoker.terminal.waiting import waiting_shown, waits_line


def job(status: str = "queued", position: int | None = None, reason: str = "user limit 2") -> Job:
    queue = None if position is None else QueuePosition(position=position, ahead=0, reason=reason)
    return Job(job_id="job-1", status=status, queue=queue)


def test_a_line_says_place_and_reason() -> None:
    assert waits_line(job(position=3)) == "place 3 in the queue: user limit 2"
    assert waits_line(job()) == ""
    assert waits_line(job("training", position=3)) == ""


def test_each_change_is_said_once_and_an_outage_changes_nothing() -> None:
    answers: Iterator[Job | Exception] = iter(
        [job(position=3), job(position=3), ConnectionLost("here", "away"), job(position=1, reason="begins now")]
    )
    board, said, done = Board(job()), [], threading.Event()

    def look() -> Job:
        answer = next(answers, None)
        if answer is None:
            done.set()
            return job(position=1, reason="begins now")
        if isinstance(answer, Exception):
            raise answer
        return answer

    with waiting_shown(board, look, said.append, every=0.01):
        assert done.wait(60)
    assert said == ["place 3 in the queue: user limit 2", "place 1 in the queue: begins now"]
    assert board.queue == said[-1]


def test_nobody_is_asked_for_a_job_that_runs() -> None:
    asked: list[str] = []
    with waiting_shown(Board(job("training")), lambda: asked.append("x") or job(), asked.append, every=0.01):
        threading.Event().wait(0.1)
    assert asked == []
