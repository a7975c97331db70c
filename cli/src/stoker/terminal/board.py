"""What is known of a followed job at this moment: news go in, figures come out."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from stoker.client.models import Job
from stoker.client.news import JobChanged, JobNews, LogWritten, MetricsReported, Progress
from stoker_shared.money import MicroUsd

LOSS, HELD_OUT_LOSS = "loss", "eval_loss"

Highlight = Literal["status", "loss", "log", "progress"]


@dataclass(slots=True)
class Board:
    """The state of one job. `now` is passed in wherever time matters."""

    job: Job
    losses: dict[int, float] = field(default_factory=dict)
    held_out_losses: dict[int, float] = field(default_factory=dict)
    step: int = 0
    total_steps: int = 0
    tokens_per_second: float | None = None
    last_line: str = ""
    queue: str = ""
    _seconds_left: float | None = None
    _told_at: datetime | None = None

    def take(self, news: JobNews, *, now: datetime) -> Highlight:
        """Take in one piece of news; says what it was about."""
        if isinstance(news, JobChanged):
            self._take_job(news)
            return "status"
        if isinstance(news, MetricsReported):
            for point in news.points:
                self._take_values(point.step, point.values, now=now)
            return "loss"
        if isinstance(news, LogWritten):
            self.last_line = news.lines[-1].text.rstrip() or self.last_line
            return "log"
        self._take_progress(news, now=now)
        return "progress"

    def cost(self, now: datetime) -> MicroUsd:
        """What the job has cost by now."""
        return self.job.cost_at(now)

    def loss_history(self) -> list[float]:
        """Training losses in the order of their steps."""
        return [self.losses[step] for step in sorted(self.losses)]

    @property
    def loss(self) -> float | None:
        """The loss of the latest step."""
        return self.losses[max(self.losses)] if self.losses else None

    @property
    def share_done(self) -> float | None:
        """From 0 to 1; None before the number of steps is known."""
        return min(self.step / self.total_steps, 1.0) if self.total_steps else None

    def time_left(self, now: datetime) -> timedelta | None:
        """What the machine said last, less the time since."""
        if self._seconds_left is None or self._told_at is None or self.job.status != "training":
            return None
        return max(timedelta(), timedelta(seconds=self._seconds_left) - (now - self._told_at))

    def _take_job(self, news: JobChanged) -> None:
        # An event tells the state after the fact; what it does not mention stays.
        changed = news.job
        said = {name: getattr(changed, name) for name in changed.model_fields_set if name in Job.model_fields}
        where = {name: news.fact[name] for name in ("provider", "gpu_type") if name in news.fact}
        is_new_attempt = changed.attempt > self.job.attempt
        self.job = self.job.model_copy(update=said | where)
        if is_new_attempt:
            self.step, self._seconds_left = 0, None

    def _take_values(self, step: int, values: dict[str, float | None], *, now: datetime) -> None:
        for name, history in ((LOSS, self.losses), (HELD_OUT_LOSS, self.held_out_losses)):
            value = values.get(name)
            if value is not None:
                history[step] = value
        self.step = max(self.step, step)
        rate = values.get("tokens_per_second")
        self.tokens_per_second = rate if rate is not None else self.tokens_per_second
        self._take_time(values.get("seconds_left"), now)

    def _take_progress(self, news: Progress, *, now: datetime) -> None:
        self.step = max(self.step, news.step)
        self.total_steps = news.total_steps or self.total_steps
        if news.tokens_per_second is not None:
            self.tokens_per_second = news.tokens_per_second
        self._take_time(news.seconds_left, now)

    def _take_time(self, seconds_left: float | None, now: datetime) -> None:
        if seconds_left is not None:
            self._seconds_left, self._told_at = seconds_left, now
