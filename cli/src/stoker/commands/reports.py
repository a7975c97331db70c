"""`stoker logs`, `stoker metrics`, `stoker alerts`: what a job's machine has reported."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from stoker.client import Client, LogWritten
from stoker.commands.jobs import JobArgument
from stoker.commands.session import JsonOption, session_of
from stoker.terminal.screen import print_json, remarks, results
from stoker.terminal.tables import alert_table
from stoker_shared.errors import RequestInvalid
from stoker_shared.rpc.log_search import Match
from stoker_shared.rpc.metrics import LinesNotKept

MACHINE_LOG_PAUSE = 1.0


def logs(  # noqa: PLR0913 - each parameter is an option of the command
    context: typer.Context,
    job: JobArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    machine: Annotated[bool, typer.Option("--machine", help="What the provider kept of the machine's output.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the last N lines.")] = None,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Only lines that contain TEXT.")] = None,
    expression: Annotated[bool, typer.Option("--regex", help="TEXT is a regular expression.")] = False,
    download: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the whole log to FILE.")] = None,
) -> None:
    """What a job has printed."""
    _check_one_of(follow=follow, tail=tail, search=search, download=download)
    with session_of(context).client() as client:
        if machine:
            _print_machine_log(client, job, follow=follow)
        elif download is not None:
            results().print(f"{client.download_logs(job, download)}")
        elif search is not None:
            _print_matches(client.search_logs(job, search, is_expression=expression))
        elif follow:
            for news in client.follow(job):
                if isinstance(news, LogWritten):
                    _print_lines(line.text for line in news.lines)
        else:
            _print_lines(line.text for line in (client.log_tail(job, tail) if tail else client.logs(job)))
            _note_cap(client.log_cap(job))


def metrics(
    context: typer.Context,
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.")],
    as_json: JsonOption = False,
) -> None:
    """The newest value of each metric, several jobs side by side."""
    with session_of(context).client() as client:
        found = client.latest_metrics(*jobs)
    if as_json:
        print_json(found)
        return
    table = Table("metric", *(f"{run.job_id} step {run.step}" for run in found))
    for name in sorted({name for run in found for name in run.values}):
        table.add_row(name, *(_figure(run.values.get(name)) for run in found))
    results().print(table)


def alerts(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """What a job's machines warned of."""
    with session_of(context).client() as client:
        found = client.alerts(job)
    if as_json:
        print_json(found)
    else:
        results().print(alert_table(found.alerts) if found.alerts else "no alerts")
    for level in found.capped:
        remarks().print(f"no more {level}s of this job are kept here; later ones stand in its log: stoker logs {job}")


def _check_one_of(**options: object) -> None:
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        names = " and ".join(f"--{name}" for name in given)
        raise RequestInvalid(f"{names} do not go together.", next_step="Give one of them.")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _note_cap(not_kept: LinesNotKept | None) -> None:
    if not_kept is not None:
        remarks().print(f"capped after line {not_kept.after_sequence:,}: {not_kept.lines:,} lines not kept")


def _print_matches(matches: Iterable[Match]) -> None:
    for match in matches:
        _print_lines([f"{match.line.sequence}: {match.line.text}"])


def _print_machine_log(client: Client, job: str, *, follow: bool, sleep: Callable[[float], None] = time.sleep) -> None:
    offset = 0
    while True:
        was_over = not follow or client.job(job).is_over
        piece = client.machine_logs(job, offset=offset)
        print(piece.text, end="", flush=True)  # noqa: T201 - the result itself
        if piece.next_offset == offset and was_over:
            return
        if piece.next_offset == offset:
            sleep(MACHINE_LOG_PAUSE)
        offset = piece.next_offset


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line.rstrip("\n"), flush=True)  # noqa: T201 - the result itself
