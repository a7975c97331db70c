"""`stoker secrets`: keys of providers, of the Hub and of Weights & Biases. Sent once, shown never."""

import sys
from typing import Annotated

import typer
from pydantic import SecretStr

from stoker.commands.session import JsonOption, session_of
from stoker.terminal.screen import print_json, remarks, results
from stoker.terminal.tables import secret_table
from stoker_shared.errors import RequestInvalid

app = typer.Typer(no_args_is_help=True, help="Keys for providers, Hugging Face and Weights & Biases: set, list, rm.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="runpod, huggingface or wandb.")]


@app.command(name="set")
def set_secret(
    context: typer.Context,
    name: NameArgument,
    from_stdin: Annotated[bool, typer.Option("--stdin", help="Read the key from standard input.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Set a key; it is asked for without being shown. An option for it would stand in the list of processes."""
    value = _from_stdin() if from_stdin else _asked_for(name)
    with session_of(context).client() as client:
        stored = client.set_secret(name, value)
    if as_json:
        print_json(stored)
        return
    results().print(secret_table([stored]))
    if stored.state == "unchecked":
        remarks().print(f"{name} could not be asked whether it accepts this key; it is stored all the same.")


@app.command(name="list")
def list_secrets(context: typer.Context, as_json: JsonOption = False) -> None:
    """Which keys are set: state, last characters, when."""
    with session_of(context).client() as client:
        found = client.secrets()
    if as_json:
        print_json(found)
        return
    results().print(secret_table(found.secrets))
    unset = sorted(set(found.settable) - {secret.name for secret in found.secrets})
    if unset:
        remarks().print(f"Not set: {', '.join(unset)}.")


@app.command()
def rm(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Use a key no more. Machines that were launched with it keep it until they are gone."""
    with session_of(context).client() as client:
        left = client.remove_secret(name)
    if as_json:
        print_json(left)
        return
    is_kept = any(secret.name == name for secret in left.secrets)
    remarks().print(
        f"{name} is {'kept sealed until its machines are gone, and not used again' if is_kept else 'gone'}."
    )


def _from_stdin() -> SecretStr:
    # What `echo` adds is no part of a key.
    return _not_empty(sys.stdin.read().rstrip("\r\n"))


def _asked_for(name: str) -> SecretStr:
    if not sys.stdin.isatty():
        raise RequestInvalid("There is no terminal to ask for the key.", next_step="Send it with --stdin.")
    return _not_empty(typer.prompt(f"Key for {name}", hide_input=True, default="", show_default=False))


def _not_empty(value: str) -> SecretStr:
    if not value:
        raise RequestInvalid("The key is empty; nothing was sent.", next_step="Copy the key and try again.")
    return SecretStr(value)
