"""`stoker launch`, `watch`, `jobs`, `job`, `cancel`, `deploy`."""

from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from stoker.client import Client
from stoker.client.models import Job
from stoker.commands.session import JsonOption, KeepAliveOption, session_of
from stoker.terminal.figures import show_duration
from stoker.terminal.screen import print_json, remarks, results
from stoker.terminal.tables import job_table
from stoker.terminal.waiting import waits_line
from stoker.terminal.watching import end_lines, watch
from stoker_shared.clock import SystemClock

INTERRUPTED = 130

job_app = typer.Typer(no_args_is_help=True, help="One job: show.")

PriorityOption = Annotated[
    int, typer.Option(min=-10, max=10, help="Of jobs that wait, those of higher priority begin first.")
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.")]


def launch(
    context: typer.Context,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Id of a plan.")],
    priority: PriorityOption = 0,
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a plan. Money is reserved for one attempt at a time."""
    with session_of(context).client() as client:
        job = client.launch(plan, priority=priority)
        if as_json and not watch_it:
            print_json(job)
            return
        (remarks() if as_json else results()).print(f"launched [bold]{job.job_id}[/]")
        if watch_it:
            _watch(client, job, as_json=as_json)
        else:
            results().print(f"Follow it: stoker watch {job.job_id}")


def watch_job(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Follow a job to its end. Ctrl-C leaves the job running."""
    with session_of(context).client() as client:
        _watch(client, client.job(job), as_json=as_json)


def jobs(context: typer.Context, as_json: JsonOption = False) -> None:
    """Your jobs, newest first."""
    with session_of(context).client() as client:
        found = client.jobs()
    if as_json:
        print_json(found)
    elif found:
        results().print(job_table(found, now=SystemClock().now()))
    else:
        results().print("No jobs yet. Make a plan: stoker plan DATASET --model MODEL")


@job_app.command(name="show")
def show_job(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """One job as it stands now."""
    with session_of(context).client() as client:
        found = client.job(job)
    if as_json:
        print_json(found)
        return
    console, now = results(), SystemClock().now()
    console.print(job_table([found], now=now))
    cause = found.diagnosed.summary if found.diagnosed else ""
    for text in (found.message, found.detail, cause, waits_line(found)):
        if text:
            console.print(escape(text))
    if found.progress is not None and found.progress.total_steps:
        left = show_duration(found.progress.seconds_left)
        console.print(f"step {found.progress.step} of {found.progress.total_steps}, time left {left}")
    if found.advice:
        console.print(f"Next: {escape(found.advice)}")


def cancel(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """End a job and release its machine."""
    with session_of(context).client() as client:
        found = client.cancel(job)
    if as_json:
        print_json(found)
    else:
        results().print(f"{found.job_id} is being cancelled. See its machine go: stoker watch {found.job_id}")


def deploy(  # noqa: PLR0913 - each parameter is an option of the command
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Id of a dataset version.")],
    *,
    recipe: Annotated[str, typer.Option(help="Id of a saved recipe: stoker recipe list.")],
    provider: Annotated[str, typer.Option(help="Who gives the machine.")] = "local",
    gpu_type: Annotated[str | None, typer.Option(help="Only this type.")] = None,
    gpu_count: Annotated[int | None, typer.Option(help="How many; 0 for a machine without.")] = None,
    budget: Annotated[str | None, typer.Option(metavar="USD", help="The most that the job may cost.")] = None,
    priority: PriorityOption = 0,
    max_price: Annotated[str | None, typer.Option(metavar="USD", help="The most that an hour may cost.")] = None,
    project: Annotated[str | None, typer.Option(help="Whose budget it counts against; stoker budget show.")] = None,
    keep_alive: KeepAliveOption = None,
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Plan and launch a saved recipe in one call."""
    wanted = {
        "dataset_version_id": dataset,
        "training_config_id": recipe,
        "gpu_type": gpu_type,
        "gpu_count": gpu_count,
        "budget_limit": budget,
        "priority": priority or None,
        "max_price_usd_per_hour": max_price,
        "project": project,
        "keep_alive_seconds": keep_alive,
    }
    with session_of(context).client() as client:
        done = client.deploy(provider, **{name: value for name, value in wanted.items() if value is not None})
        if as_json and not watch_it:
            print_json(done)
            return
        (remarks() if as_json else results()).print(f"launched [bold]{done.job.job_id}[/] by plan {done.plan_id}")
        if watch_it:
            _watch(client, done.job, as_json=as_json)


def _watch(client: Client, job: Job, *, as_json: bool) -> None:
    clock = SystemClock()
    # With --json the standard output is for the result alone.
    console = remarks() if as_json else results()
    try:
        look = partial(client.job, job.job_id)
        watch(client.follow(job.job_id), job=job, console=console, clock=clock, look=look)
    except KeyboardInterrupt:
        remarks().print(
            f"\nNot watching any more; {job.job_id} goes on.\n"
            f"Watch again: stoker watch {job.job_id}\nEnd it: stoker cancel {job.job_id}",
        )
        raise typer.Exit(INTERRUPTED) from None
    ended = client.job(job.job_id)
    if as_json:
        print_json(ended)
    else:
        for line in end_lines(ended, now=clock.now()):
            console.print(line)
    if ended.status != "completed":
        raise typer.Exit(1)
