"""What the demo on RunPod tells of its pod, and when it is not content."""

from datetime import UTC, datetime, timedelta
from typing import Any

from stoker.client.models import AttemptBill, Job
from stoker.demo.plan import DemoOptions, DemoResult
from stoker.demo.pod_story import PodStory, story_of
from stoker.demo.verdict import bill_is_what_was_charged, pod_is_gone
from stoker_shared.rpc.metrics import Line

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JOB = Job(
    job_id="job-a",
    status="completed",
    attempt=1,
    bills=[AttemptBill(attempt=1, estimated_micro_usd=900, billed_micro_usd=1000)],
)


def pod(**changes: Any) -> dict[str, Any]:
    return {
        "id": "p1",
        "name": "job-a-1",
        "created_at": NOW.isoformat(),
        "started_at": (NOW + timedelta(seconds=6)).isoformat(),
        "ended_at": (NOW + timedelta(seconds=60)).isoformat(),
        "ended_by": "pod: delete",
        "spent": 0.001,
        "processes": [],
    } | changes


def line(sequence: int, text: str) -> Line:
    return Line(sequence=sequence, at=NOW + timedelta(seconds=10 * sequence), stream="pod", text=text)


def test_the_story_is_told_in_the_order_of_time() -> None:
    lines = [
        line(1, "system: begins 1 s after the start"),
        line(2, "training: the trainer begins 5 things"),
        line(3, "guard: release: delete (DELETE /pods/p1)"),
    ]
    story = story_of([pod(name="job-b-1", spent=5), pod()], JOB, lines)
    assert story.moments == [
        (0, "ordered"),
        (6, "container starts"),
        (10, "script: system"),
        (60, "ended by pod: delete"),
    ]
    assert story.rungs == ["delete: DELETE /pods/p1"]
    assert (story.estimated_micro_usd, story.billed_micro_usd, story.charged_micro_usd) == (900, 1000, 1000)
    assert (story.pods_created, story.pods_left, story.processes_left) == (1, 0, 0)


def test_what_is_left_or_charged_otherwise_is_a_problem() -> None:
    def result(**changes: Any) -> DemoResult:
        story = PodStory(pods_created=1, billed_micro_usd=1000, charged_micro_usd=1000)
        for name, value in changes.items():
            setattr(story, name, value)
        return DemoResult(pod=story, cost_micro_usd=1000)

    options = DemoOptions()
    assert pod_is_gone(result(), options) is bill_is_what_was_charged(result(), options) is None
    assert "2 pods" in (pod_is_gone(result(pods_created=2), options) or "")
    assert "1 pods" in (pod_is_gone(result(pods_left=1), options) or "")
    assert "3 processes" in (pod_is_gone(result(processes_left=3), options) or "")
    assert "charged 1001" in (bill_is_what_was_charged(result(charged_micro_usd=1001), options) or "")
