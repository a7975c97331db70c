"""`stoker budget`: what all jobs, or those of a project, may cost together."""

from typing import Annotated

import typer

from stoker.commands.session import JsonOption, session_of
from stoker.terminal.screen import print_json, results
from stoker.terminal.tables import budget_table

app = typer.Typer(no_args_is_help=True, help="Budgets of you and of your projects: show, set.")


@app.command()
def show(context: typer.Context, as_json: JsonOption = False) -> None:
    """Limits, and what jobs hold or have spent of them."""
    with session_of(context).client() as client:
        found = client.budgets()
    if as_json:
        print_json(found)
    else:
        results().print(budget_table(found))


@app.command(name="set")
def set_budget(
    context: typer.Context,
    limit: Annotated[str, typer.Argument(metavar="USD", help='Such as 12.50; "none" takes the limit away.')],
    project: Annotated[str | None, typer.Option(help="A project; without it your own budget.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Set a limit for attempts that begin from now on. Jobs that run land in time."""
    with session_of(context).client() as client:
        budget = client.set_budget(None if limit.lower() == "none" else limit, project=project)
    if as_json:
        print_json(budget)
    else:
        results().print(budget_table([budget]))
