"""`stoker plan`, `stoker recipe` and `stoker offers`: what would run, where, and for how much."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stoker.client import Client
from stoker.client.models import Plan
from stoker.commands.session import JsonOption, KeepAliveOption, session_of
from stoker.recipe_options import OPTION_PATHS, build_recipe
from stoker.terminal.plans import print_plan
from stoker.terminal.screen import print_json, results
from stoker.terminal.tables import offer_table, provider_table, recipe_table, unknown_machine_lines
from stoker_shared.recipe import Recipe

recipes = typer.Typer(no_args_is_help=True, help="Saved recipes: save, list.")

RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="YAML or JSON; options given as well win.")]
Pair = Annotated[list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="Variable for the machine.")]

PLAN_FIELDS: Mapping[str, str] = {
    "provider": "provider",
    "gpu_type": "gpu_type",
    "gpu_count": "gpu_count",
    "budget": "budget_usd",
    "max_price": "max_price_usd_per_hour",
    "project": "project",
    "max_attempts": "max_attempts",
    "max_duration": "max_duration_seconds",
    "volume": "volume_size_gb",
    "keep_alive": "keep_alive_seconds",
}
"""What each option is called in the request for a plan; those of the recipe are in `OPTION_PATHS`."""


def plan(  # noqa: PLR0913 - each parameter is an option of the command
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Id of a dataset version.")],
    *,
    model: Annotated[str | None, typer.Option(help="A folder on the training machine, or a name on the hub.")] = None,
    recipe: RecipeFile = None,
    provider: Annotated[str, typer.Option(help="Who gives the machine.")] = "local",
    gpu_type: Annotated[str | None, typer.Option(help="Only this type.")] = None,
    gpu_count: Annotated[int | None, typer.Option(help="How many; 0 for a machine without.")] = None,
    budget: Annotated[str | None, typer.Option(metavar="USD", help="The most that the job may cost.")] = None,
    max_price: Annotated[str | None, typer.Option(metavar="USD", help="The most that an hour may cost.")] = None,
    project: Annotated[str | None, typer.Option(help="Whose budget it counts against; stoker budget show.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Machines to try at most.")] = None,
    max_duration: Annotated[int | None, typer.Option(metavar="SECONDS", help="Longest run.")] = None,
    volume: Annotated[
        int | None, typer.Option(metavar="GB", help="Disk of a rented machine; without it, as much as is needed.")
    ] = None,
    keep_alive: KeepAliveOption = None,
    env: Pair = None,
    secret: Annotated[
        list[str] | None, typer.Option(help="huggingface or wandb: a key of stoker secrets that the machine sees.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps to train; 0: the epochs decide.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Times through the data.")] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    lora_rank: Annotated[int | None, typer.Option(help="Size of the adapter.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of an adapter.")] = False,
    batch: Annotated[int | None, typer.Option(help="Rows per device and step.")] = None,
    max_length: Annotated[int | None, typer.Option(metavar="TOKENS", help="Longer rows are cut.")] = None,
    held_out: Annotated[float | None, typer.Option(metavar="SHARE", help="Rows kept for measuring.")] = None,
    held_out_rows: Annotated[int | None, typer.Option(help="The most rows to keep for measuring.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(metavar="STEPS", help="0: none.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    sample_prompt: Annotated[list[str] | None, typer.Option(help="Answered before and after; repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check and price a training run, and freeze it under a hash. Nothing is spent."""
    given = locals()  # by the names of the options; OPTION_PATHS and PLAN_FIELDS tell where each goes
    choices = _choices(given)
    with session_of(context).client() as client:
        built = build_recipe({name: given[name] for name in OPTION_PATHS}, file=recipe, is_full=full)
        made = client.plan(dataset, recipe=_local_model(client, built), **choices)
    show_plan(made, as_json=as_json)


def show_plan(made: Plan, *, as_json: bool) -> None:
    """Print a plan; a blocked one ends the program with status 1."""
    if as_json:
        print_json(made)
    else:
        print_plan(made, results())
    if not made.is_launchable:
        raise typer.Exit(1)


@recipes.command()
def save(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name that is there gets another version.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON.")],
    as_json: JsonOption = False,
) -> None:
    """Keep a recipe under a name."""
    with session_of(context).client() as client:
        saved = client.save_recipe(name, _local_model(client, build_recipe({}, file=file)))
    if as_json:
        print_json(saved)
    else:
        results().print(recipe_table([saved]))


@recipes.command(name="list")
def list_recipes(context: typer.Context, as_json: JsonOption = False) -> None:
    """Your recipes, newest first."""
    with session_of(context).client() as client:
        saved = client.recipes()
    if as_json:
        print_json(saved)
    else:
        results().print(recipe_table(saved))


def offers(context: typer.Context, as_json: JsonOption = False) -> None:
    """What can be rented now, cheapest first."""
    with session_of(context).client() as client:
        found = client.offers()
    if as_json:
        print_json(found)
        return
    results().print(offer_table(found.offers))
    for fault in found.faults:
        results().print(f"[yellow]{fault.provider} could not be asked:[/] {fault.detail} {fault.next_step}")


def providers(context: typer.Context, as_json: JsonOption = False) -> None:
    """Whether the configured providers can be used."""
    with session_of(context).client() as client:
        found = client.providers()
    if as_json:
        print_json(found)
    else:
        results().print(provider_table(found.providers))
        for line in unknown_machine_lines(found.providers):
            results().print(line)


def _choices(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{field: given[option] for option, field in PLAN_FIELDS.items()},
        "environment": _pairs(given["env"] or []) or None,
        "secrets": given["secret"] or None,
    }


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{name!r} is not NAME=VALUE", param_hint="--env")
        pairs[name] = value
    return pairs


def _local_model(client: Client, recipe: Recipe) -> Recipe:
    name = client.model_name(recipe.model.name_or_path)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"name_or_path": name})})
