"""What is left of a job after a blow, counted; and the table of all of them."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from stoker.client.errors import ConnectionLost, ServerBusy, ServerFailed
from tests.support.live_stack import LiveStack
from tests.support.small_stack import processes_of
from tests.support.stored import query

PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Outcome:
    """Of one cell. `where` is what was hit, `when` the state of the job, `out_of_balance` micro-dollars."""

    where: str
    when: str
    job_id: str
    status: str
    attempts: int
    machines: int
    living: int
    lost: int
    duplicates: int
    ends: int
    out_of_balance: int
    seconds: float

    @property
    def is_sound(self) -> bool:
        """Completed once, on one machine for each attempt, with every point, every cent and nothing left behind."""
        clean = (self.living, self.lost, self.duplicates, self.out_of_balance) == (0, 0, 0, 0)
        return self.status == "completed" and self.machines == self.attempts and self.ends == 1 and clean

    def line(self) -> str:
        """All of it."""
        return (
            f"{self.where:<18} {self.when:<13} {self.job_id} {self.status:<10} attempts={self.attempts} "
            f"machines={self.machines} living={self.living} lost={self.lost} duplicates={self.duplicates} "
            f"ends={self.ends} out_of_balance={self.out_of_balance} {self.seconds:.0f}s"
        )


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Rows: what was hit; columns: when; cells: whether it ended well, on how many attempts, and after how long."""
    columns = list(dict.fromkeys(outcome.when for outcome in outcomes))
    cells = {(outcome.where, outcome.when): _cell(outcome) for outcome in outcomes}
    rows = dict.fromkeys(outcome.where for outcome in outcomes)
    head = f"{'':<24}" + "".join(f"{column:>15}" for column in columns)
    return [
        head,
        *(f"{row:<24}" + "".join(f"{cells.get((row, column), ''):>15}" for column in columns) for row in rows),
    ]


def _cell(outcome: Outcome) -> str:
    again = f" x{outcome.attempts}" if outcome.attempts > 1 else ""
    return f"{'ok' if outcome.is_sound else 'BAD'}{again} {outcome.seconds:.0f}s"


def examine(stack: LiveStack, job_id: str, *, where: str, when: str, steps: int, started: float) -> Outcome:
    """Wait for the end and count. Every step is logged once, so the loss of each step must be there once."""
    wait_until(lambda: stack.client.job(job_id).is_over)
    wait_until(lambda: len(losses(stack, job_id)) >= steps, patience=60, or_else_go_on=True)
    wait_until(lambda: not living_processes(stack, job_id), patience=60, or_else_go_on=True)
    counted = Counter(losses(stack, job_id))
    job = stack.client.job(job_id)
    return Outcome(
        where=where,
        when=when,
        job_id=job_id,
        status=job.status,
        attempts=job.attempt,
        machines=len(stack.machines(job_id)),
        living=len(living_processes(stack, job_id)),
        lost=sum(1 for step in range(1, steps + 1) if counted[step] == 0),
        duplicates=sum(count - 1 for count in counted.values()),
        ends=stored_ends(stack, job_id),
        out_of_balance=out_of_balance(stack, job_id),
        seconds=time.monotonic() - started,
    )


def losses(stack: LiveStack, job_id: str) -> list[int]:
    """The steps for which a training loss is stored, with repetitions if there are any."""
    return [point.step for point in stack.client.metrics(job_id) if "loss" in point.values]


def living_processes(stack: LiveStack, job_id: str) -> list[psutil.Process]:
    """Processes of the job's machines."""
    return [process for process in processes_of(stack.folder) if _belongs_to(process, job_id)]


def _belongs_to(process: psutil.Process, job_id: str) -> bool:
    try:
        return process.environ().get("JOB_ID") == job_id
    except psutil.Error:
        return False


def stored_ends(stack: LiveStack, job_id: str) -> int:
    """How many ends the read model has stored for a job: the client would hide a second one."""
    rows = query(stack.database_url("api"), "SELECT payload->>'type' AS type FROM job_events WHERE job_id = $1", job_id)
    return sum(1 for row in rows if row["type"] in {"completed", "failed", "cancelled"})


def out_of_balance(stack: LiveStack, job_id: str) -> int:
    """Micro-dollars that are still held though the job is over, or that were spent and are not in what was told."""
    entries = query(
        stack.database_url("deployer"), "SELECT debit, credit, amount FROM ledger_entries WHERE job_id = $1", job_id
    )
    balances: Counter[str] = Counter()
    for entry in entries:
        balances[entry["debit"]] += entry["amount"]
        balances[entry["credit"]] -= entry["amount"]
    held = sum(abs(amount) for account, amount in balances.items() if account.startswith("held:"))
    spent = sum(amount for account, amount in balances.items() if account.startswith("spent:"))
    told = query(
        stack.database_url("api"),
        "SELECT payload->>'spent_micro_usd' AS spent FROM job_events WHERE job_id = $1 ORDER BY sequence DESC LIMIT 1",
        job_id,
    )
    return held + abs(sum(balances.values())) + abs(spent - int(told[0]["spent"]))


def model_is_whole(stack: LiveStack, job_id: str, folder: Path) -> bool:
    """Every artifact arrives with its checksum (the client compares), and the summary says that the loss fell."""
    for artifact in stack.client.artifacts(job_id):
        stack.client.download_artifact(artifact, folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    return bool(metrics["held_out"]["loss_after"] < metrics["held_out"]["loss_before"])


def wait_until(
    is_true: Callable[[], bool],
    *,
    patience: float = PATIENCE_SECONDS,
    every: float = 0.25,
    or_else_go_on: bool = False,
) -> None:
    """Ask again and again. While a service is being restarted an answer may be missing; that is no failure."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if is_true():
                return
        except (ConnectionLost, ServerBusy, ServerFailed):
            pass
        time.sleep(every)
    if not or_else_go_on:
        raise TimeoutError(f"Not so after {patience:.0f} s.")
