"""`stoker artifacts`: what a job has produced."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from stoker.commands.session import JsonOption, session_of
from stoker.terminal.screen import print_json, remarks, results, transfer_progress
from stoker.terminal.tables import artifact_table
from stoker_shared.rpc.dataset_gateway import ArtifactFacts

app = typer.Typer(no_args_is_help=True, help="What a job has produced: list, get.")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.")]


@app.command(name="list")
def list_artifacts(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """The stored files of all attempts."""
    with session_of(context).client() as client:
        found = client.artifacts(job)
    if as_json:
        print_json(found)
    elif found:
        results().print(artifact_table(found))
    else:
        results().print(f"{job} has stored nothing yet.")


@app.command()
def get(
    context: typer.Context,
    job: JobArgument,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to; else a folder with the job's id.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the files of the latest attempt; each SHA-256 is compared."""
    folder = to or Path(job)
    with session_of(context).client() as client, transfer_progress(remarks()) as progress:
        wanted = latest_attempt(client.artifacts(job))
        for artifact in wanted:
            client.download_artifact(artifact, folder, progress=partial(progress, artifact.name))
    if as_json:
        print_json(wanted)
        return
    if not wanted:
        results().print(f"{job} has stored nothing yet.")
        raise typer.Exit(1)
    results().print(artifact_table(wanted))
    results().print(f"\n{len(wanted)} files in {folder}, every SHA-256 as promised.")


def latest_attempt(artifacts: Sequence[ArtifactFacts]) -> list[ArtifactFacts]:
    """The files of the newest attempt that has stored any."""
    newest = max((artifact.attempt for artifact in artifacts), default=0)
    return [artifact for artifact in artifacts if artifact.attempt == newest]
