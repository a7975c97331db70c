"""A followed job on the screen: live where there is a terminal, else line by line."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stoker.client.models import AttemptBill, Job
from stoker.client.news import JobNews
from stoker.terminal.board import Board, Highlight
from stoker.terminal.figures import show_duration, sparkline
from stoker.terminal.waiting import waiting_shown
from stoker_shared.clock import Clock
from stoker_shared.money import show_usd

PLAIN_EVERY = timedelta(seconds=5)
_STYLES = {"completed": "bold green", "failed": "bold red", "cancelled": "bold yellow"}


def watch(
    news: Iterable[JobNews], *, job: Job, console: Console, clock: Clock, look: Callable[[], Job] | None = None
) -> Board:
    """Show a job until its end and return what was seen of it. `look` asks for the job: where it waits in the queue."""
    board = Board(job)
    if job.progress is not None:
        board.step, board.total_steps = job.progress.step, job.progress.total_steps
    say = _silent if console.is_terminal else partial(_say_waiting, console, clock)
    with waiting_shown(board, look or (lambda: job), say):
        if console.is_terminal:
            _watch_live(news, board=board, console=console, clock=clock)
        else:
            _watch_plainly(news, board=board, console=console, clock=clock)
    return board


def end_lines(job: Job, *, now: datetime) -> list[str]:
    """How it ended, why, what it cost, and what to do next."""
    style = _STYLES.get(job.status, "bold")
    lines = [f"[{style}]{job.job_id} {job.status}[/] after {max(job.attempt, 1)} attempt(s), {_spent(job, now)}"]
    lines += [_bill(bill) for bill in job.bills]
    if job.status == "completed":
        if job.reason != "success":
            lines += [escape(text) for text in (job.message, job.detail) if text]
        return [*lines, f"Get it: stoker artifacts get {job.job_id}"]
    lines += [escape(text) for text in (job.message, job.detail) if text]
    if job.diagnosed is not None:
        lines.append(f"{escape(job.diagnosed.summary)} More: stoker why {job.job_id}")
    if job.advice:
        lines.append(f"Next: {escape(job.advice)}")
    return lines


def _bill(bill: AttemptBill) -> str:
    billed, estimated = show_usd(bill.billed_micro_usd), show_usd(bill.estimated_micro_usd)
    return f"The provider billed {billed} for attempt {bill.attempt}; estimated were {estimated}."


def _silent(_waits: str) -> None:
    """The live panel draws the board by itself."""


def _say_waiting(console: Console, clock: Clock, waits: str) -> None:
    console.print(f"{clock.now():%H:%M:%S}  queued  {waits}", highlight=False, markup=False)


def _watch_live(news: Iterable[JobNews], *, board: Board, console: Console, clock: Clock) -> None:
    with Live(_LivePanel(board, clock), console=console, refresh_per_second=4, transient=False):
        for item in news:
            board.take(item, now=clock.now())


def _watch_plainly(news: Iterable[JobNews], *, board: Board, console: Console, clock: Clock) -> None:
    shown_at: datetime | None = None
    for item in news:
        now = clock.now()
        highlight = board.take(item, now=now)
        is_due = shown_at is None or now - shown_at >= PLAIN_EVERY
        if highlight == "status" or (highlight in {"loss", "progress"} and is_due):
            shown_at = now
            console.print(_plain_line(board, now, highlight), highlight=False, markup=False)


def _plain_line(board: Board, now: datetime, highlight: Highlight) -> str:
    parts = [f"{now:%H:%M:%S}", board.job.status]
    if highlight == "status" and board.job.detail:
        parts.append(board.job.detail)
    parts += [text for text in _figures(board, now) if text]
    return "  ".join(parts)


def _figures(board: Board, now: datetime) -> list[str]:
    steps = f"step {board.step}/{board.total_steps}" if board.total_steps else f"step {board.step}" * bool(board.step)
    left = board.time_left(now)
    return [
        steps,
        f"loss {board.loss:.4f}" if board.loss is not None else "",
        f"{board.tokens_per_second:.0f} tokens/s" if board.tokens_per_second is not None else "",
        show_usd(board.cost(now)),
        f"{show_duration(left)} left" if left is not None else "",
    ]


class _LivePanel:
    """Drawn anew several times a second, so the cost runs even while nobody says anything."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._board = board
        self._now: Callable[[], datetime] = clock.now

    def __rich__(self) -> RenderableType:
        board, now = self._board, self._now()
        job = board.job
        title = Text.assemble((job.job_id, "bold"), "  ", (job.status, _STYLES.get(job.status, "bold cyan")))
        where = " ".join(part for part in (job.provider, job.gpu_type) if part)
        title.append(f"  attempt {job.attempt}{' on ' + where if where else ''}", style="dim")
        if job.status == "queued" and board.queue:
            title.append(f"  {board.queue}", style="yellow")
        return Group(title, self._bar(), self._table(now), Text(board.last_line[:200], style="dim", no_wrap=True))

    def _bar(self) -> RenderableType:
        share = self._board.share_done
        return ProgressBar(total=1.0, completed=share or 0.0, pulse=share is None and not self._board.job.is_over)

    def _table(self, now: datetime) -> Table:
        board = self._board
        table = Table.grid(padding=(0, 2))
        table.add_row("step", f"{board.step}/{board.total_steps}" if board.total_steps else str(board.step))
        if board.loss is not None:
            table.add_row("loss", f"{board.loss:.4f}  {sparkline(board.loss_history())}")
        if board.held_out_losses:
            held_out = [board.held_out_losses[step] for step in sorted(board.held_out_losses)]
            table.add_row("held-out loss", " -> ".join(f"{value:.4f}" for value in held_out))
        if board.tokens_per_second is not None:
            table.add_row("speed", f"{board.tokens_per_second:.0f} tokens/s")
        table.add_row("cost", _spent(board.job, now))
        if board.job.detail:
            table.add_row("note", Text(board.job.detail))
        left = board.time_left(now)
        if left is not None:
            table.add_row("time left", show_duration(left))
        return table


def _spent(job: Job, now: datetime) -> str:
    budget = f" of {show_usd(job.budget_micro_usd)}" if job.budget_micro_usd is not None else ""
    return show_usd(job.cost_at(now)) + budget
