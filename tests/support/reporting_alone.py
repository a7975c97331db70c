"""The trainer's reporter in a process of its own, on a clock that is set by hand.

python -m tests.support.reporting_alone hour URL FOLDER     half an hour of reports, then it kills itself
python -m tests.support.reporting_alone full URL FOLDER     reports while files cannot grow, then while they can
python -m tests.support.reporting_alone filled URL FOLDER   ends while files cannot grow
"""

import os
import resource
import signal
import sys
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

from stoker_trainer.delivery import Answer, Delivery
from stoker_trainer.masking import Masker
from stoker_trainer.reporter import Reporter, ReporterSettings

HALF_AN_HOUR = 1_800
EXIT = {"exit_code": 0, "reason": "success", "message": "done", "last_lines": [], "summary": {}}


class HandClock:
    """Each look takes a millisecond, the rest is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class CountingDelivery(Delivery):
    """The real one, and how often it was used."""

    attempts = 0

    def post(self, url: str, body: dict[str, Any]) -> Answer:
        """Send one report."""
        self.attempts += 1
        return super().post(url, body)


def make_reporter(url: str, folder: Path, *, delivery: Delivery, clock: HandClock, echo: Any = print) -> Reporter:
    """A reporter of job 1."""
    settings = ReporterSettings(
        metrics_url=f"{url}/v1/jobs/job-1/metrics",
        alerts_url=f"{url}/v1/jobs/job-1/alerts",
        attempt=3,
        spool_folder=folder,
        report_every=timedelta(seconds=1),
    )
    return Reporter(settings, delivery=delivery, masker=Masker([]), clock=clock, echo=echo)


def report_seconds(reporter: Reporter, clock: HandClock, *, first: int) -> None:
    """Half an hour: each second a point and a line; the reporter gets its turn every five."""
    for second in range(first, first + HALF_AN_HOUR):
        reporter.metrics(step=second, values={"entropy": float(second)})
        reporter.line("stdout", f"second {second}")
        clock.now += 1
        if second % 5 == 0:
            reporter.turn()
    reporter.turn()


def main(what: str, url: str, folder: Path, token: str) -> None:
    """One of the three."""
    clock, delivery = HandClock(), CountingDelivery(token=token)
    reporter = make_reporter(url, folder, delivery=delivery, clock=clock)
    if what == "full":
        _report_on_a_full_disk(reporter, clock, folder)
        return
    if what == "filled":
        _end_on_a_full_disk(reporter, clock)
        return
    tracemalloc.start()
    report_seconds(reporter, clock, first=1)
    sys.stdout.write(f"attempts {delivery.attempts} peak {tracemalloc.get_traced_memory()[1]}\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _report_on_a_full_disk(reporter: Reporter, clock: HandClock, folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _report_some(reporter, clock, first=1)
    size = max(path.stat().st_size for path in (folder / "metrics").glob("*.segment"))
    # Room for half a line more and no further: a batch is torn, and the position of what was taken has no room at all.
    for limit, first in ((size + 40, 11), (0, 21), (size + 40, 31)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        _report_some(reporter, clock, first=first)
        assert max(path.stat().st_size for path in (folder / "metrics").glob("*.segment")) == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _report_some(reporter, clock, first=41)
    assert reporter.finish(EXIT, limit=timedelta(seconds=60))


def _end_on_a_full_disk(reporter: Reporter, clock: HandClock) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _report_some(reporter, clock, first=1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    clock.now += 60
    _report_some(reporter, clock, first=11)
    reporter.alert("error", "disk_full", "a checkpoint was not written")
    reporter.finish(EXIT | {"exit_code": 1, "reason": "disk_full"}, limit=timedelta(milliseconds=50))


def _report_some(reporter: Reporter, clock: HandClock, *, first: int) -> None:
    for step in range(first, first + 10):
        reporter.metrics(step=step, values={"entropy": float(step)})
        reporter.line("stdout", f"line {step}")
        clock.now += 1
        if step % 5 == 0:
            reporter.turn()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
