"""What is left of a job after a fault of its provider, counted; and the table of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from stoker.client import JobChanged
from stoker_shared.money import show_usd
from tests.chaos.outcomes import out_of_balance, wait_until
from tests.support.runpod_live import RunpodLive

_LONGEST = 150


@dataclass(frozen=True)
class Seen:
    """What a user is told of an attempt's end, or of the job's."""

    status: str
    reason: str
    message: str
    detail: str

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.status} {self.reason} {self.message} {self.detail}"


@dataclass(frozen=True)
class Outcome:
    """Of one fault. Amounts are micro-dollars: by our ledger, and by the cloud's meter."""

    fault: str
    job_id: str
    seen: tuple[Seen, ...]
    attempts: int
    pods: int
    twice: int
    left: int
    spent: int
    charged: int
    needed: int
    out_of_balance: int

    @property
    def end(self) -> Seen:
        """The last that the user sees."""
        return self.seen[-1]

    def line(self) -> str:
        """A row of the table."""
        numbers = (self.attempts, self.pods, self.left)
        money = (self.spent, self.needed, self.spent - self.needed)
        words = "; then ".join(dict.fromkeys(_words(seen) for seen in self.seen))
        cells = (self.fault, words, *map(str, numbers), *(show_usd(amount, places=6) for amount in money))
        return f"| {' | '.join(cells)} |"


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """As it stands in docs/providers/runpod.md."""
    head = ("fault", "what the user sees", "attempts", "pods", "left", "spent", "needed", "wasted")
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(outcome.line() for outcome in outcomes)]


def examine(live: RunpodLive, job_id: str, *, fault: str) -> Outcome:
    """Wait for the end, for the last bill and for the last pod, and count."""
    client = live.stack.client
    wait_until(lambda: client.job(job_id).is_over, patience=600)
    wait_until(lambda: all(pod["ended_at"] and not pod["processes"] for pod in live.pods(job_id)), or_else_go_on=True)
    wait_until(lambda: live.is_settled(client.job(job_id)), or_else_go_on=True)
    # What is booked of pods that nobody asked for comes last.
    wait_until(lambda: client.job(job_id).spent_micro_usd == live.charged(job_id), patience=60, or_else_go_on=True)
    job, pods = client.job(job_id), live.pods(job_id)
    is_completed = job.status == "completed"
    return Outcome(
        fault=fault,
        job_id=job_id,
        seen=tuple(_seen(live, job_id)),
        attempts=job.attempt,
        pods=len(pods),
        twice=len(pods) - len({pod["name"] for pod in pods}),
        left=sum(pod["ended_at"] is None or bool(pod["processes"]) for pod in pods),
        spent=job.spent_micro_usd,
        charged=live.charged(job_id),
        needed=live.charged_for(pods[-1]) if is_completed else 0,
        out_of_balance=out_of_balance(live.stack, job_id),
    )


def _seen(live: RunpodLive, job_id: str) -> list[Seen]:
    changes = [news for news in live.stack.client.follow(job_id) if isinstance(news, JobChanged)]
    again = [change.job for change in changes if change.type == "requeued"]
    return [
        Seen(job.status, job.reason or "", job.message, job.detail) for job in (*again, live.stack.client.job(job_id))
    ]


def _words(seen: Seen) -> str:
    said = seen.detail if len(seen.detail) <= _LONGEST else f"{seen.detail[: _LONGEST - 3]}..."
    told = f"{seen.message} {said}".strip() if seen.reason != "success" else ""
    return f"{seen.status} `{seen.reason}`" + (f": {told}".replace("|", "/") if told else "")
