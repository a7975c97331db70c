"""The reporter for an hour without the service, on a full disk, and after faults that nobody thought of."""

import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.responses import Response

from stoker_trainer.delivery import Delivery
from tests.support.pod_receiver import TOKEN, PodReceiver
from tests.support.reporting_alone import (
    EXIT,
    HALF_AN_HOUR,
    CountingDelivery,
    HandClock,
    make_reporter,
    report_seconds,
)

MAX_ATTEMPTS = 3 * (HALF_AN_HOUR // 15 + 10)
"""Three channels; no wait is shorter than half of 30 s, once the first ones have grown."""


def alone(what: str, receiver: PodReceiver, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.reporting_alone", what, receiver.url, str(folder), TOKEN]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def told(receiver: PodReceiver) -> tuple[list[tuple[int, int]], list[tuple[int, str]]]:
    points = [(one["sequence"], one["step"]) for one in receiver.records("metrics", "points")]
    return points, [(one["sequence"], one["text"]) for one in receiver.records("logs", "lines")]


def test_an_hour_without_the_service_and_a_death_in_the_middle_lose_nothing(
    receiver: PodReceiver, tmp_path: Path
) -> None:
    receiver.stop()  # the first half hour connections are refused, the second one is answered with 503
    died = alone("hour", receiver, tmp_path)
    facts = re.fullmatch(r"attempts (\d+) peak (\d+)", died.stdout.splitlines()[-1])
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert facts
    assert 60 < int(facts[1]) < MAX_ATTEMPTS
    assert int(facts[2]) < 8 << 20
    receiver.start()
    receiver.rule = lambda _kind, _body: Response(status_code=503)

    clock, delivery = HandClock(), CountingDelivery(token=TOKEN)
    reporter = make_reporter(receiver.url, tmp_path, delivery=delivery, clock=clock)
    report_seconds(reporter, clock, first=HALF_AN_HOUR + 1)
    assert 60 < delivery.attempts < MAX_ATTEMPTS

    receiver.rule = lambda _kind, _body: None
    clock.now += 30
    assert reporter.finish(EXIT, limit=timedelta(minutes=1))
    seconds = range(1, 2 * HALF_AN_HOUR + 1)
    assert told(receiver) == ([(n, n) for n in seconds], [(n, f"second {n}") for n in seconds])
    assert len(receiver.taken["exit"]) == 1


def test_on_a_full_disk_all_waits_in_memory_and_comes_once(receiver: PodReceiver, tmp_path: Path) -> None:
    reports = alone("full", receiver, tmp_path)
    assert reports.returncode == 0, reports.stderr
    assert told(receiver) == ([(n, n) for n in range(1, 51)], [(n, f"line {n}") for n in range(1, 51)])
    assert reports.stdout.count("the report spool cannot be written") == 1
    assert "the report spool can be written again" in reports.stdout


def test_on_a_full_disk_a_pod_is_still_heard_and_tells_how_it_ends(receiver: PodReceiver, tmp_path: Path) -> None:
    ended = alone("filled", receiver, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert [step for _, step in told(receiver)[0]] == list(range(1, 11)), "points wait for room"
    assert [beat["step"] for beat in receiver.records("heartbeat")] == [0, 0]
    assert [alert["code"] for alert in receiver.records("alerts")] == ["disk_full"]
    assert [report["reason"] for report in receiver.taken["exit"]] == ["disk_full"]

    reporter = make_reporter(receiver.url, tmp_path, delivery=Delivery(token=TOKEN), clock=HandClock())
    reporter.alert("warning", "began_again", "with room on the disk")
    assert reporter.finish(EXIT, limit=timedelta(seconds=20))
    for kind in ("heartbeat", "alerts", "exit"):
        numbers = [one["sequence"] for one in receiver.records(kind)]
        assert numbers == sorted(set(numbers)), "no number for two"
    assert len(receiver.records("alerts")) == len(receiver.records("exit")) == 2


def test_a_fault_in_one_channel_is_told_once_and_the_others_go_on(receiver: PodReceiver, tmp_path: Path) -> None:
    clock = HandClock()
    said: list[str] = []
    reporter = make_reporter(receiver.url, tmp_path, delivery=Delivery(token=TOKEN), clock=clock, echo=said.append)
    reporter.metrics(step=1, values={"entropy": object()})  # type: ignore[dict-item]
    reporter.metrics(step=2, values={"entropy": 2.0})
    reporter.line("stdout", "a name that is no text: \udcff")
    reporter.turn()
    reporter.turn()
    assert told(receiver) == ([(1, 2)], [(1, "a name that is no text: ?")])
    assert sum("report_unwritable" in line for line in said) == 1


def test_a_fault_that_nobody_thought_of_is_an_alert_and_does_not_end_the_thread(
    receiver: PodReceiver, tmp_path: Path
) -> None:
    class Faulty(CountingDelivery):
        def post(self, url, body):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            if self.attempts < 2:
                self.attempts += 1
                raise KeyError("nobody thought of it")
            return super().post(url, body)

    said: list[str] = []
    delivery = Faulty(token=TOKEN)
    reporter = make_reporter(receiver.url, tmp_path, delivery=delivery, clock=HandClock(), echo=said.append)
    for _ in range(4):
        reporter.turn()
    assert [alert["code"] for alert in receiver.records("alerts")] == ["reporter_failed"]
    assert sum("reporter_failed" in line for line in said) == 1
    assert reporter.finish(EXIT, limit=timedelta(seconds=20))


@pytest.mark.parametrize("header", ["0", "-1", "nan"])
def test_no_retry_after_makes_a_loop_or_a_wait_without_end(receiver: PodReceiver, tmp_path: Path, header: str) -> None:
    refusals = 3

    def rule(_kind: str, _body: object) -> Response | None:
        if len(receiver.requests) > refusals:
            return None
        return Response(status_code=503, headers={"Retry-After": header})

    receiver.rule = rule
    clock = HandClock()
    reporter = make_reporter(receiver.url, tmp_path, delivery=Delivery(token=TOKEN), clock=clock)
    reporter.turn()
    assert len(receiver.requests) == 1, "one channel, one attempt"
    for _ in range(10):
        clock.now += 1
        reporter.turn()
    assert receiver.records("heartbeat")


def test_an_answer_that_cannot_be_unpacked_is_a_failure(receiver: PodReceiver, tmp_path: Path) -> None:
    receiver.rule = lambda _kind, _body: Response(b"no gzip", headers={"Content-Encoding": "gzip"})
    clock = HandClock()
    reporter = make_reporter(receiver.url, tmp_path, delivery=Delivery(token=TOKEN), clock=clock)
    reporter.turn()
    receiver.rule = lambda _kind, _body: None
    clock.now += 1
    reporter.turn()
    assert [beat["sequence"] for beat in receiver.records("heartbeat")] == [1]
    assert "alerts" not in receiver.taken


def test_a_console_that_takes_nothing_disturbs_neither_training_nor_reports(
    receiver: PodReceiver, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:

        def echo(line: str) -> None:
            full.write(line.encode())

        reporter = make_reporter(receiver.url, tmp_path, delivery=Delivery(token=TOKEN), clock=HandClock(), echo=echo)
        reporter.log("nobody reads it here")
        reporter.turn()
    assert told(receiver)[1] == [(1, "nobody reads it here")]
