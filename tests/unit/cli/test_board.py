"""What a followed job's news add up to."""

from datetime import UTC, datetime, timedelta

from stoker.client.models import Job
from stoker.client.news import JobChanged, LogWritten, MetricsReported, Progress
from stoker.terminal.board import Board
from stoker_shared.rpc.metrics import Line, Point

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
JOB = Job(job_id="job-1", status="queued", budget_micro_usd=1_000_000, name="mine")


def change(**fields: object) -> JobChanged:
    return JobChanged(1, type="x", job=Job.model_validate({"job_id": "job-1", **fields}))


def points(*losses: float, first_step: int = 1) -> MetricsReported:
    made = (
        Point(sequence=step, step=step, at=NOON, values={"loss": loss}) for step, loss in enumerate(losses, first_step)
    )
    return MetricsReported(1, tuple(made))


def test_cost_runs_with_the_clock_while_a_machine_is_billed() -> None:
    board = Board(JOB)
    board.take(
        change(status="training", spent_micro_usd=500, price_micro_usd_per_hour=3_600_000, billing_started_at=NOON),
        now=NOON,
    )
    assert board.cost(NOON) == 500
    assert board.cost(NOON + timedelta(seconds=10)) == 10_500
    assert board.cost(NOON - timedelta(seconds=10)) == 500


def test_cost_stands_still_when_the_machine_is_gone() -> None:
    board = Board(JOB)
    board.take(change(status="training", price_micro_usd_per_hour=10**6, billing_started_at=NOON), now=NOON)
    board.take(change(status="completed", spent_micro_usd=777, billing_started_at=None), now=NOON)
    assert board.cost(NOON + timedelta(hours=1)) == 777


def test_an_event_leaves_what_it_does_not_mention() -> None:
    board = Board(JOB)
    board.take(change(status="training"), now=NOON)
    assert (board.job.name, board.job.budget_micro_usd) == ("mine", 1_000_000)


def test_the_machine_is_taken_from_the_fact_of_the_event() -> None:
    board = Board(JOB)
    fact = {"provider": "local", "gpu_type": "cpu", "gpu_count": 0}
    board.take(JobChanged(2, type="provisioning_started", job=change(status="provisioning").job, fact=fact), now=NOON)
    assert (board.job.provider, board.job.gpu_type) == ("local", "cpu")


def test_losses_are_in_the_order_of_their_steps_whatever_order_they_come_in() -> None:
    board = Board(JOB)
    board.take(points(2.0, 1.0, first_step=3), now=NOON)
    board.take(points(4.0, 3.0), now=NOON)
    assert board.loss_history() == [4.0, 3.0, 2.0, 1.0]
    assert board.loss == 1.0
    assert board.step == 4


def test_a_value_that_is_not_a_number_is_no_point_of_the_curve() -> None:
    board = Board(JOB)
    board.take(MetricsReported(1, (Point(sequence=1, step=1, at=NOON, values={"loss": None}),)), now=NOON)
    assert board.loss is None


def test_time_left_shrinks_between_two_words_of_the_machine() -> None:
    board = Board(JOB)
    board.take(change(status="training"), now=NOON)
    board.take(Progress(step=10, total_steps=40, seconds_left=60.0), now=NOON)
    assert board.time_left(NOON + timedelta(seconds=20)) == timedelta(seconds=40)
    assert board.time_left(NOON + timedelta(seconds=90)) == timedelta()
    assert board.share_done == 0.25


def test_there_is_no_time_left_once_training_is_over() -> None:
    board = Board(JOB)
    board.take(Progress(step=40, total_steps=40, seconds_left=3.0), now=NOON)
    board.take(change(status="saving"), now=NOON)
    assert board.time_left(NOON) is None


def test_another_attempt_begins_at_its_own_step() -> None:
    board = Board(JOB)
    board.take(change(status="training", attempt=1), now=NOON)
    board.take(points(4.0, 3.0), now=NOON)
    board.take(change(status="provisioning", attempt=2), now=NOON)
    assert board.step == 0


def test_the_last_line_is_kept() -> None:
    board = Board(JOB)
    lines = tuple(Line(sequence=n, at=NOON, stream="stdout", text=text) for n, text in enumerate(("a", "b\n"), 1))
    board.take(LogWritten(1, lines), now=NOON)
    assert board.last_line == "b"
