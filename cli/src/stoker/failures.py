"""What a user sees when a command fails: what happened, where, and what to do. The traceback goes to a file."""

import traceback
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from stoker.client.errors import ClientError, DatasetRejected
from stoker.terminal.tables import fault_table
from stoker_shared.errors import StokerError
from stoker_shared.tokens import mask_tokens

LOG_NAME = "logs/cli.log"
FAULTS_SHOWN = 20


def show_failure(error: Exception, *, console: Console, log_file: Path, now: datetime) -> None:
    """Tell the user, and write the traceback to the log file."""
    if not isinstance(error, StokerError):
        where = _write_log(error, log_file=log_file, now=now)
        console.print(f"[bold red]Something went wrong inside stoker:[/] {escape(_masked(error))}")
        console.print(f"{where} Please report it with that file.")
        return
    if log_file.parent.exists():  # a mistyped --data must not become a folder
        _write_log(error, log_file=log_file, now=now)
    console.print(f"[bold red]Error:[/] {escape(error.detail)}")
    if isinstance(error, DatasetRejected):
        console.print(fault_table(error.faults[:FAULTS_SHOWN]))
        _print_rest(error, console)
    for name, fault in error.fields.items():
        console.print(f"  {escape(name)}: {escape(fault)}")
    if error.next_step:
        console.print(f"[bold]Next:[/] {escape(error.next_step)}")
    if isinstance(error, ClientError) and error.trace_id:
        console.print(f"Trace {error.trace_id}: the operator finds it in the logs.", style="dim")


def _print_rest(error: DatasetRejected, console: Console) -> None:
    rest = error.faults_total - len(error.faults[:FAULTS_SHOWN])
    if rest > 0:
        console.print(f"... and {rest:,} more: stoker data show {error.dataset_version_id}")


def _write_log(error: Exception, *, log_file: Path, now: datetime) -> str:
    lines = traceback.format_exception(error)
    text = mask_tokens(f"--- {now.isoformat()}\n{''.join(lines)}\n")
    try:
        log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log_file.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as failure:
        return f"The details could not be written to {log_file} ({failure.strerror})."
    return f"The details are in {log_file}."


def _masked(error: Exception) -> str:
    return mask_tokens(f"{type(error).__name__}: {error}")
