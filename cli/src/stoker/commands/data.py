"""`stoker data`: datasets."""

from pathlib import Path
from typing import Annotated

import typer

from stoker.client.models import Dataset
from stoker.commands.session import JsonOption, session_of
from stoker.terminal.figures import show_bytes
from stoker.terminal.screen import print_json, remarks, results, transfer_progress
from stoker.terminal.tables import dataset_table, fault_table

app = typer.Typer(no_args_is_help=True, help="Datasets: add, list, show.")

DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="Id of a dataset version.")]


@app.command()
def add(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, plain or gzip.")],
    name: Annotated[str | None, typer.Option(help="What to call it; else the name of the file.")] = None,
    convert: Annotated[
        bool, typer.Option(help="Take rows of other known forms, such as ShareGPT's, where nothing is lost by it.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Upload a file and check every row. Interrupted, the same command goes on where it stopped."""
    with session_of(context).client() as client, transfer_progress(remarks()) as progress:
        dataset = client.upload_dataset(file, name=name, convert=convert, progress=progress)
    if as_json:
        print_json(dataset)
        return
    _print_dataset(dataset)
    results().print(f"\n[bold green]stored[/]  stoker plan {dataset.dataset_version_id} --model MODEL")


@app.command(name="list")
def list_datasets(context: typer.Context, as_json: JsonOption = False) -> None:
    """Your datasets, newest first."""
    with session_of(context).client() as client:
        datasets = client.datasets()
    if as_json:
        print_json(datasets)
    elif datasets:
        results().print(dataset_table(datasets))
    else:
        results().print("No datasets yet. Add one: stoker data add FILE")


@app.command()
def show(context: typer.Context, dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """One dataset with its figures, and its faults if it was rejected."""
    with session_of(context).client() as client:
        found = client.dataset(dataset)
    if as_json:
        print_json(found)
    else:
        _print_dataset(found)


def _print_dataset(dataset: Dataset) -> None:
    console, figures = results(), dataset.statistics
    console.print(dataset_table([dataset]))
    console.print(f"sha256 {dataset.sha256}")
    console.print(
        f"characters a row: half below {figures.characters_p50:,}, 95 % below {figures.characters_p95:,}, "
        f"longest {figures.characters_max:,}; {figures.duplicate_rows:,} duplicates, "
        f"{figures.empty_turns:,} empty turns; {show_bytes(dataset.size_bytes)}",
    )
    if dataset.conversion:
        console.print(f"read as converted from {dataset.conversion}")
    if dataset.fits_methods:
        console.print(f"fits {', '.join(dataset.fits_methods)}")
    if dataset.faults:
        console.print(f"\n[bold red]{dataset.faults_total:,} faults[/]")
        console.print(fault_table(dataset.faults))
    if dataset.sample:
        console.print("\nfirst row:", style="bold")
        console.print(dataset.sample, markup=False)
