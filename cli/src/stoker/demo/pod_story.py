"""What became of the demo's pod, told at its end."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from stoker.client.models import Job
from stoker.stack.stack_file import find_stack
from stoker.terminal.figures import show_duration
from stoker.terminal.tables import table
from stoker_shared.money import show_usd, usd
from stoker_shared.rpc.metrics import Line

_STAGE = re.compile(r"^(?P<stage>\w+): begins \d+ s after the start$")
_RUNG = re.compile(r"guard: release: (?P<rung>\w+) \((?P<call>[A-Z]+ \S+)\)")


@dataclass(slots=True)
class PodStory:
    """What became of the pod: seconds since its order, by the provider's clock and by the pod's own log."""

    pod_id: str = ""
    moments: list[tuple[float, str]] = field(default_factory=list)
    rungs: list[str] = field(default_factory=list)
    ended_by: str = ""
    pods_created: int = 0
    pods_left: int = 0
    processes_left: int = 0
    estimated_micro_usd: int = 0
    billed_micro_usd: int = 0
    charged_micro_usd: int = 0


class Cloud:
    """The simulated provider's own view, which no user of a real one has."""

    def __init__(self, data_dir: Path) -> None:
        self._url = find_stack(data_dir).urls["runpod_simulator"]

    def pods(self) -> list[dict[str, Any]]:
        """Every pod that there ever was."""
        answer = httpx.get(f"{self._url}/_admin/pods", trust_env=False, timeout=30)
        return list(answer.raise_for_status().json())


def story_of(pods: Sequence[Mapping[str, Any]], job: Job, lines: Sequence[Line]) -> PodStory:
    """The story of the job's last pod, from what the provider tells, the job's bills and its log."""
    pods = [pod for pod in pods if pod["name"].startswith(f"{job.job_id}-")]
    pod = pods[-1]
    ordered = datetime.fromisoformat(pod["created_at"])
    moments = [
        (ordered, "ordered"),
        *([(datetime.fromisoformat(pod["started_at"]), "container starts")] if pod["started_at"] else []),
        *_stages(lines),
        *([(datetime.fromisoformat(pod["ended_at"]), f"ended by {pod['ended_by']}")] if pod["ended_at"] else []),
    ]
    (bill,) = [bill for bill in job.bills if bill.attempt == job.attempt]
    return PodStory(
        pod_id=pod["id"],
        moments=[(round((at - ordered).total_seconds(), 1), what) for at, what in sorted(moments)],
        rungs=[f"{found['rung']}: {found['call']}" for line in lines if (found := _RUNG.search(line.text))],
        ended_by=pod["ended_by"] or "",
        pods_created=len(pods),
        pods_left=sum(pod["ended_at"] is None for pod in pods),
        processes_left=sum(len(pod["processes"]) for pod in pods),
        estimated_micro_usd=bill.estimated_micro_usd,
        billed_micro_usd=bill.billed_micro_usd,
        charged_micro_usd=sum(usd(pod["spent"]) for pod in pods),
    )


def show_story(story: PodStory, console: Console) -> None:
    """Timeline, exit ladder, money, and what is left."""
    made = table(">after", f"pod {story.pod_id}")
    for seconds, what in story.moments:
        made.add_row(show_duration(seconds), escape(what))
    console.print(made)
    ladder = ", then ".join(story.rungs) or "not needed: the deployer was faster"
    console.print(f"      exit ladder  {escape(ladder)}")
    console.print(
        f"      money        estimated {show_usd(story.estimated_micro_usd)}, "
        f"billed {show_usd(story.billed_micro_usd)}, charged by the provider {show_usd(story.charged_micro_usd)}"
    )
    console.print(
        f"      left         {story.pods_left} of {story.pods_created} pods, {story.processes_left} processes"
    )


def _stages(lines: Iterable[Line]) -> Iterator[tuple[datetime, str]]:
    for line in lines:
        if found := _STAGE.match(line.text):
            yield line.at, f"script: {found['stage']}"
