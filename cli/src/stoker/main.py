"""The command `stoker`."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from stoker.client.server import DATA_VARIABLE, STACK_DATA_VARIABLE, URL_VARIABLE, data_folder
from stoker.commands import artifacts, budgets, data, diagnosing, jobs, notify, planning, reports, secrets
from stoker.commands.session import Session
from stoker.failures import LOG_NAME, show_failure
from stoker.stack.commands import doctor, up
from stoker.terminal.screen import remarks
from stoker_shared.clock import SystemClock
from stoker_shared.errors import RequestInvalid

USAGE = 2

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Fine-tune language models without burning money on an idle GPU.",
)

app.command()(up)
app.command()(doctor)
app.add_typer(data.app, name="data")
app.command()(planning.plan)
app.command()(jobs.launch)
app.command(name="watch")(jobs.watch_job)
app.command()(jobs.jobs)
app.add_typer(jobs.job_app, name="job")
app.command()(jobs.cancel)
app.command()(reports.logs)
app.command()(reports.metrics)
app.command()(reports.alerts)
app.command()(diagnosing.why)
app.command()(diagnosing.retry)
app.add_typer(artifacts.app, name="artifacts")
app.command()(jobs.deploy)
app.add_typer(planning.recipes, name="recipe")
app.add_typer(budgets.app, name="budget")
app.add_typer(secrets.app, name="secrets")
app.add_typer(notify.app, name="notify")
app.command()(planning.offers)
app.command()(planning.providers)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - the form of an option's callback
    if wanted:
        typer.echo(version("stoker"))
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(help=f"Address of the api; else {URL_VARIABLE}, else the local stack.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"Data folder of the local stack; else {DATA_VARIABLE}.")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep what was said before the command."""
    context.obj = Session(url=url, data_dir=data)
    # One word for both sides: `up` and `doctor` read the other variable.
    if data is not None:
        os.environ[STACK_DATA_VARIABLE] = str(data_folder(data))
        os.environ.pop(DATA_VARIABLE, None)
    elif DATA_VARIABLE in os.environ:
        os.environ.setdefault(STACK_DATA_VARIABLE, str(data_folder()))


def main() -> None:
    """Run the command line. Ends the process with 0, 1 (refused or failed), 2 (usage) or 130 (interrupted)."""
    try:
        app()
    except Exception as error:  # noqa: BLE001 - nobody above; logged with its traceback
        show_failure(error, console=remarks(), log_file=data_folder() / LOG_NAME, now=SystemClock().now())
        sys.exit(USAGE if isinstance(error, RequestInvalid) else 1)


if __name__ == "__main__":
    main()
