"""`stoker notify`: where you are told what happens to your jobs, and of what."""

import sys
from typing import Annotated

import typer
from pydantic import SecretStr

from stoker.client import Client
from stoker.commands.session import JsonOption, session_of
from stoker.terminal.notification_tables import delivery_table, rule_table, target_table
from stoker.terminal.screen import print_json, remarks, results
from stoker_shared.errors import RequestInvalid

app = typer.Typer(
    no_args_is_help=True, help="Tell webhooks, Slack, e-mail and others: add, list, rules, test, log, remove."
)

KINDS = "webhook, email, slack, discord, teams, telegram, pushover, ntfy or google_chat"
ENDS = ("job.completed", "job.failed", "job.cancelled")

TargetArgument = Annotated[str, typer.Argument(metavar="TARGET", help="Its name or id.")]
EventOption = Annotated[
    list[str] | None, typer.Option("--event", help="Such as job.failed; may be given several times.")
]
ProjectOption = Annotated[str | None, typer.Option(help="Of this project alone.")]
BudgetShareOption = Annotated[float, typer.Option(help="For job.budget_share.")]
QueuedAfterOption = Annotated[int, typer.Option(metavar="SECONDS", help="For job.queued_long.")]


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What you call it.")],
    kind: Annotated[str, typer.Option(help=f"{KINDS}.")] = "webhook",
    event: EventOption = None,
    from_stdin: Annotated[bool, typer.Option("--stdin", help="Read the address from standard input.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Add a target; its address is asked for without being shown. Without --event it is told how jobs end."""
    address = _address(kind, from_stdin=from_stdin)
    with session_of(context).client() as client:
        made = client.add_notification_target(name, kind, address)
        client.add_notification_rule(made.target.target_id, event or list(ENDS))
    if as_json:
        print_json(made)
        return
    results().print(target_table([made.target]))
    if made.signing_secret:
        remarks().print(
            "It signs with this secret, which is shown only now; verify with any Standard Webhooks library:"
        )
        results().print(made.signing_secret, markup=False)
    remarks().print(f"Try it: stoker notify test {name}", markup=False)


@app.command(name="list")
def list_targets(context: typer.Context, as_json: JsonOption = False) -> None:
    """Your targets."""
    with session_of(context).client() as client:
        found = client.notification_targets()
    if as_json:
        print_json(found)
    else:
        results().print(target_table(found))


@app.command()
def rules(  # noqa: PLR0913, PLR0917 - each parameter is an option of the command
    context: typer.Context,
    target: Annotated[str | None, typer.Argument(metavar="[TARGET]", help="With --event: add a rule for it.")] = None,
    event: EventOption = None,
    project: ProjectOption = None,
    budget_share: BudgetShareOption = 0.8,
    queued_after: QueuedAfterOption = 1800,
    rm: Annotated[str | None, typer.Option(metavar="RULE", help="Remove this rule.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Your rules; with a target and --event one more, with --rm one less."""
    with session_of(context).client() as client:
        if target is not None:
            if not event:
                raise RequestInvalid("A rule needs an event.", next_step="Give --event, such as job.failed.")
            limits = {"project": project, "budget_share": budget_share, "queued_after_seconds": queued_after}
            client.add_notification_rule(_id_of(client, target), event, **limits)
        if rm is not None:
            client.remove_notification_rule(rm)
        found, names = client.notification_rules(), _names(client)
    if as_json:
        print_json(found)
    else:
        results().print(rule_table(found, names=names))


@app.command(name="test")
def send_test(context: typer.Context, target: TargetArgument, as_json: JsonOption = False) -> None:
    """Send one message now. Ends with 1 if it did not arrive."""
    with session_of(context).client() as client:
        told = client.test_notification_target(_id_of(client, target))
    if as_json:
        print_json(told)
    else:
        results().print(delivery_table([told], names={told.target_id: target}))
    if told.state != "delivered":
        raise typer.Exit(1)


@app.command()
def log(
    context: typer.Context,
    target: Annotated[str | None, typer.Option(help="Of this target, by name or id.")] = None,
    job: Annotated[str | None, typer.Option(help="Of this job.")] = None,
    state: Annotated[str | None, typer.Option(help="waiting, delivered, failed or late.")] = None,
    resend: Annotated[str | None, typer.Option(metavar="DELIVERY", help="Send this one again first.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What was sent, newest first, and what was answered."""
    with session_of(context).client() as client:
        if resend is not None:
            client.resend_delivery(resend)
        target_id = None if target is None else _id_of(client, target)
        found, names = client.deliveries(target_id=target_id, job_id=job, state=state), _names(client)
    if as_json:
        print_json(found)
    else:
        results().print(delivery_table(found, names=names))


@app.command()
def pause(context: typer.Context, target: TargetArgument) -> None:
    """Send nothing to a target until `resume`; what happens meanwhile waits."""
    _set_state(context, target, "paused")


@app.command()
def resume(context: typer.Context, target: TargetArgument) -> None:
    """Use a target again that is paused or gone."""
    _set_state(context, target, "active")


@app.command()
def rotate(context: typer.Context, target: TargetArgument, as_json: JsonOption = False) -> None:
    """Another signing secret for a webhook; for a day the old one signs as well."""
    with session_of(context).client() as client:
        made = client.rotate_signing_secret(_id_of(client, target))
    if as_json:
        print_json(made)
    else:
        results().print(made.signing_secret or "", markup=False)


@app.command()
def remove(context: typer.Context, target: TargetArgument, as_json: JsonOption = False) -> None:
    """Delete a target with its rules and its log."""
    with session_of(context).client() as client:
        left = client.remove_notification_target(_id_of(client, target))
    if as_json:
        print_json(left)
    else:
        remarks().print(f"{target} is gone.", markup=False)


def _set_state(context: typer.Context, target: str, state: str) -> None:
    with session_of(context).client() as client:
        changed = client.set_notification_target_state(_id_of(client, target), state)
    results().print(target_table([changed]))


def _id_of(client: Client, target: str) -> str:
    for known in client.notification_targets():
        if target in (known.target_id, known.name):
            return known.target_id
    raise RequestInvalid(f"You have no target {target!r}.", next_step="See stoker notify list.")


def _names(client: Client) -> dict[str, str]:
    return {known.target_id: known.name for known in client.notification_targets()}


def _address(kind: str, *, from_stdin: bool) -> SecretStr:
    # An argument would stand in the list of processes, and such addresses are keys.
    if from_stdin:
        value = sys.stdin.read().strip()
    elif sys.stdin.isatty():
        value = typer.prompt(f"Address for {kind}", hide_input=True, default="", show_default=False).strip()
    else:
        raise RequestInvalid("There is no terminal to ask for the address.", next_step="Send it with --stdin.")
    if not value:
        raise RequestInvalid("The address is empty; nothing was sent.", next_step="Copy the address and try again.")
    return SecretStr(value)
