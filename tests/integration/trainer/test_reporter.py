"""Reporting over real HTTP: nothing lost while the service is away, nothing doubled, each answer understood."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from stoker_trainer.delivery import Delivery
from stoker_trainer.errors import TokenRejected
from stoker_trainer.masking import Masker
from stoker_trainer.reporter import Reporter, ReporterSettings
from tests.support.pod_receiver import TOKEN, PodReceiver, wait_until

EXIT = {"exit_code": 0, "reason": "success", "message": "done", "last_lines": [], "summary": {}}
SOON = timedelta(seconds=20)
Maker = Callable[..., Reporter]


@pytest.fixture
def make(receiver: PodReceiver, tmp_path: Path) -> Iterator[Maker]:
    made: list[Reporter] = []

    def maker(*, token: str = TOKEN) -> Reporter:
        base = f"{receiver.url}/v1/jobs/job-1"
        settings = ReporterSettings(
            metrics_url=f"{base}/metrics",
            alerts_url=f"{base}/alerts",
            attempt=3,
            spool_folder=tmp_path / "spool",
            report_every=timedelta(milliseconds=20),
            heartbeat_every=timedelta(milliseconds=100),
        )
        made.append(Reporter(settings, delivery=Delivery(token=token), masker=Masker([token])))
        return made[-1]

    yield maker
    for reporter in made:
        reporter.flush(limit=timedelta(0))


def sequences(receiver: PodReceiver, kind: str, list_name: str) -> list[int]:
    return [record["sequence"] for record in receiver.records(kind, list_name)]


def test_nothing_is_lost_or_doubled_while_the_service_is_away(make: Maker, receiver: PodReceiver) -> None:
    reporter = make()
    reporter.start()
    for step in range(1, 11):
        reporter.metrics(step=step, values={"loss": float(step)})
    wait_until(lambda: len(sequences(receiver, "metrics", "points")) == 10)
    receiver.stop()
    for step in range(11, 21):
        reporter.metrics(step=step, values={"loss": None})
        reporter.log(f"line {step} {TOKEN}")
    receiver.start()
    assert reporter.finish(EXIT, limit=SOON)
    assert sequences(receiver, "metrics", "points") == list(range(1, 21))
    lines = [line["text"] for line in receiver.records("logs", "lines")]
    assert lines == ["step 1 of 0: loss 1.0000", *(f"line {n} ***" for n in range(11, 21))]
    assert receiver.requests[-1] == "exit"
    assert receiver.taken["exit"][0]["attempt"] == 3


def test_a_new_process_sends_what_the_old_one_left(make: Maker, receiver: PodReceiver) -> None:
    receiver.rule = lambda kind, _body: Response(status_code=500)
    first = make()
    first.start()
    first.metrics(step=1, values={"loss": 1.0})
    wait_until(lambda: "heartbeat" in receiver.requests)
    assert not first.flush(limit=timedelta(0))
    receiver.rule = lambda _kind, _body: None
    second = make()
    second.start()
    second.metrics(step=2, values={"loss": 2.0})
    assert second.finish(EXIT, limit=SOON)
    assert [(one["sequence"], one["step"]) for one in receiver.records("metrics", "points")] == [(1, 1), (2, 2)]
    beats = [beat["sequence"] for beat in receiver.taken["heartbeat"]]
    assert beats == sorted(set(beats))


def test_a_phase_change_is_heard_at_once(make: Maker, receiver: PodReceiver) -> None:
    reporter = make()
    reporter.start()
    reporter.phase("saving")
    wait_until(lambda: any(beat["phase"] == "saving" for beat in receiver.records("heartbeat")), seconds=5)


def test_a_rejected_token_stops_training_and_sending(make: Maker, receiver: PodReceiver) -> None:
    reporter = make(token="revoked-" + "0" * 20)
    reporter.start()

    def is_rejected() -> bool:
        try:
            reporter.control()
        except TokenRejected:
            return True
        return False

    wait_until(is_rejected)
    sent = len(receiver.requests)
    reporter.metrics(step=1, values={"loss": 1.0})
    assert not reporter.finish(EXIT, limit=SOON)
    assert len(receiver.requests) == sent


def test_too_large_batches_are_split_and_invalid_ones_dropped_with_an_alert(make: Maker, receiver: PodReceiver) -> None:
    def rule(kind: str, body: Any) -> Response | None:
        if kind == "logs" and len(body["lines"]) > 3:
            return Response(status_code=413)
        if kind == "metrics":
            return Response("points.0.step: too large", status_code=422)
        return None

    receiver.rule = rule
    reporter = make()
    for number in range(20):
        reporter.line("stdout", f"{number}")
    reporter.metrics(step=1, values={"loss": 1.0})
    assert reporter.finish(EXIT, limit=SOON)
    lines = [line["text"] for line in receiver.records("logs", "lines")]
    assert lines[:20] == [str(number) for number in range(20)]
    assert "metrics" not in receiver.taken
    assert receiver.taken["alerts"][0]["code"] == "report_refused"


def test_retry_after_is_honoured(make: Maker, receiver: PodReceiver) -> None:
    asked: list[float] = []

    def rule(kind: str, _body: Any) -> Response | None:
        if kind == "exit":
            asked.append(time.monotonic())
        return Response(status_code=429, headers={"Retry-After": "1"}) if len(asked) == 1 else None

    receiver.rule = rule
    assert make().finish(EXIT, limit=SOON)
    assert asked[1] - asked[0] >= 0.99


def test_orders_come_back_with_any_answer(make: Maker, receiver: PodReceiver) -> None:
    receiver.control = {"action": "stop", "reason": "budget", "deadline": "2030-01-01T00:00:00Z"}
    reporter = make()
    reporter.start()
    wait_until(lambda: reporter.control().action == "stop")
    assert reporter.control().reason == "budget"


def test_the_exit_report_is_sent_even_when_logs_are_never_taken(make: Maker, receiver: PodReceiver) -> None:
    receiver.rule = lambda kind, _body: Response(status_code=404) if kind == "logs" else None
    reporter = make()
    reporter.line("stdout", "lost")
    assert not reporter.finish(EXIT, limit=timedelta(seconds=2))
    assert len(receiver.taken["exit"]) == 1


def test_large_bodies_go_packed_and_say_when_they_are_sent(make: Maker, receiver: PodReceiver) -> None:
    reporter = make()
    for number in range(200):
        reporter.line("stdout", f"the same words again, number {number}")
    assert reporter.finish(EXIT, limit=SOON)
    sizes = {encoding: size for size, encoding in receiver.encodings}
    assert set(sizes) == {"gzip", None}, "the small exit report goes plain"
    assert sum(len(line["text"]) for line in receiver.records("logs", "lines")) > 3 * sizes["gzip"]
    assert all(body["sent_at"] for bodies in receiver.taken.values() for body in bodies)


def test_a_service_that_does_not_read_gzip_gets_it_plain(make: Maker, receiver: PodReceiver) -> None:
    receiver.reads_gzip = False
    reporter = make()
    for number in range(200):
        reporter.line("stdout", f"the same words again, number {number}")
    assert reporter.finish(EXIT, limit=SOON)
    assert sequences(receiver, "logs", "lines") == list(range(1, 201))


def test_an_hour_without_the_service_loses_nothing(receiver: PodReceiver, tmp_path: Path) -> None:
    hours = Hours()
    reporter = Reporter(
        ReporterSettings(
            metrics_url=f"{receiver.url}/v1/jobs/job-1/metrics",
            alerts_url=f"{receiver.url}/v1/jobs/job-1/alerts",
            attempt=3,
            spool_folder=tmp_path / "spool",
            report_every=timedelta(milliseconds=5),
        ),
        delivery=Delivery(token=TOKEN),
        masker=Masker([TOKEN]),
        clock=hours.clock,
    )
    receiver.stop()
    reporter.start()
    for minute in range(1, 61):
        reporter.metrics(step=minute, values={"loss": float(minute)})
        reporter.line("stdout", f"minute {minute}")
        hours.passed += 60
        time.sleep(0.01)  # the thread gets a turn: it tries, waits longer and longer, and keeps what it has
    receiver.start()
    assert reporter.finish(EXIT, limit=timedelta(minutes=5))
    assert sequences(receiver, "metrics", "points") == list(range(1, 61))
    told = [line["text"] for line in receiver.records("logs", "lines") if line["text"].startswith("minute")]
    assert told == [f"minute {minute}" for minute in range(1, 61)]


class Hours:
    """A clock that runs, and jumps by what is added."""

    def __init__(self) -> None:
        self.passed = 0.0

    def clock(self) -> float:
        return time.monotonic() + self.passed


KILLED = """
import sys, time
from datetime import timedelta
from pathlib import Path
from stoker_trainer.delivery import Delivery
from stoker_trainer.masking import Masker
from stoker_trainer.reporter import Reporter, ReporterSettings
url, token, spool, first = sys.argv[1:]
settings = ReporterSettings(
    metrics_url=f"{url}/v1/jobs/job-1/metrics", alerts_url=f"{url}/v1/jobs/job-1/alerts", attempt=3,
    spool_folder=Path(spool), report_every=timedelta(milliseconds=5), heartbeat_every=timedelta(hours=1),
)
reporter = Reporter(settings, delivery=Delivery(token=token), masker=Masker([token]), echo=lambda line: None)
reporter.start()
step = int(first)
while True:
    reporter.metrics(step=step, values={"step_again": float(step)})
    step += 1
    time.sleep(0.001)
"""


def has_more(receiver: PodReceiver, *, than: int) -> bool:
    return len(set(sequences(receiver, "metrics", "points"))) > than


def test_killed_again_and_again_it_tells_each_record_once_in_order(
    make: Maker, receiver: PodReceiver, tmp_path: Path
) -> None:
    taken_before = 0
    for life in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, receiver.url, TOKEN, str(tmp_path / "spool"), str(life * 1_000_000)]
        )
        wait_until(partial(has_more, receiver, than=taken_before + 20))
        process.kill()
        process.wait()
        taken_before = len(set(sequences(receiver, "metrics", "points")))
    assert make().finish(EXIT, limit=SOON)
    told: dict[int, list[Any]] = {}
    for point in receiver.records("metrics", "points"):
        told.setdefault(point["sequence"], []).append(point)
    assert all(point == points[0] for points in told.values() for point in points), "a number is one record for ever"
    assert sorted(told) == list(range(1, len(told) + 1)), "and none is missing"
    steps = [points[0]["step"] for _, points in sorted(told.items())]
    for life in range(3):
        of_life = [step for step in steps if step // 1_000_000 == life]
        assert of_life == list(range(life * 1_000_000, life * 1_000_000 + len(of_life)))
    assert steps == sorted(steps)
