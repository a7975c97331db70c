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

app = typer.Typer(no_args_is_help=True, help="What a job has produced: list, get, rm.")

CHECKPOINTS = "checkpoints/"
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
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Also the checkpoints.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch the files of the latest attempt; each SHA-256 is compared. What a break left over is gone on with."""
    folder = to or Path(job)
    with session_of(context).client() as client, transfer_progress(remarks()) as progress:
        wanted = [
            artifact
            for artifact in latest_attempt(client.artifacts(job))
            if checkpoints or not artifact.name.startswith(CHECKPOINTS)
        ]
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


@app.command(name="rm")
def remove(
    context: typer.Context,
    job: JobArgument,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of files, or of folders with a /.")],
    attempt: Annotated[int | None, typer.Option(min=1, help="Of this attempt alone; else of all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete stored files for good. `checkpoints/` means all of them."""
    with session_of(context).client() as client:
        found = [one for one in client.artifacts(job) if attempt in {None, one.attempt} and is_named(one, names)]
        if not found:
            remarks().print(f"{job} has stored nothing of that name.")
            raise typer.Exit(1)
        if not yes:
            remarks().print(artifact_table(found))
            typer.confirm(f"Delete {len(found)} files for good?", abort=True, err=True)
        for artifact in found:
            client.delete_artifact(artifact)
    if as_json:
        print_json(found)
    else:
        results().print(f"{len(found)} files deleted.")


def is_named(artifact: ArtifactFacts, names: Sequence[str]) -> bool:
    """Whether one of the names is the file's, or ends in a slash and is that of a folder above it."""
    return any(artifact.name == name or (name.endswith("/") and artifact.name.startswith(name)) for name in names)


def latest_attempt(artifacts: Sequence[ArtifactFacts]) -> list[ArtifactFacts]:
    """The files of the newest attempt that has stored any."""
    newest = max((artifact.attempt for artifact in artifacts), default=0)
    return [artifact for artifact in artifacts if artifact.attempt == newest]
