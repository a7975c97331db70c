"""Many pods in one process, each with the trainer's own reporter and spool: what the soak test runs and counts.

    python -m tests.support.soaking_pods PLAN

PLAN is JSON: `url` of the metrics service, `folder` for spools, `every` in seconds, `tokens` by job. At SIGTERM each
pod says that it ends and waits until all is taken; how much it has said goes to `<folder>/said.json`, by job.
"""

import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from stoker_trainer.delivery import Delivery
from stoker_trainer.masking import Masker
from stoker_trainer.reporter import Reporter, ReporterSettings

TIME_TO_FINISH = timedelta(minutes=8)
EXIT = {"exit_code": 0, "reason": "success", "message": "training finished", "last_lines": []}


class SoakingPod:
    """One reporter, and how much it was given."""

    def __init__(self, job_id: str, token: str, *, url: str, folder: Path) -> None:
        settings = ReporterSettings(
            metrics_url=f"{url}/v1/jobs/{job_id}/metrics",
            alerts_url=f"{url}/v1/jobs/{job_id}/alerts",
            attempt=1,
            spool_folder=folder / job_id,
            report_every=timedelta(seconds=4),
        )
        self.job_id = job_id
        self.said = 0
        self.is_drained = False
        self._reporter = Reporter(settings, delivery=Delivery(token=token), masker=Masker([token]), echo=_to_log)

    def start(self) -> None:
        """Begin to send."""
        self._reporter.start()

    def step(self) -> None:
        """A point and a line, both with the number of the step. Of a loss the reporter would make a line of its own."""
        self.said += 1
        self._reporter.metrics(step=self.said, values={"entropy": 1 / self.said})
        self._reporter.line("trainer", f"line {self.said}")

    def finish(self) -> None:
        """Wait until all is taken."""
        self.is_drained = self._reporter.finish(dict(EXIT), limit=TIME_TO_FINISH)


def _to_log(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the pods of a plan."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(plan["folder"])
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    pods = [SoakingPod(job_id, token, url=plan["url"], folder=folder) for job_id, token in plan["tokens"].items()]
    for pod in pods:
        pod.start()
    while not ended.wait(plan["every"]):
        for pod in pods:
            pod.step()
    with ThreadPoolExecutor(len(pods)) as pool:
        list(pool.map(SoakingPod.finish, pods))
    facts = {pod.job_id: {"said": pod.said, "is_drained": pod.is_drained} for pod in pods}
    (folder / "said.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
