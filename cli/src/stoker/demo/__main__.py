"""`python -m stoker.demo`: exit status 0 only if every stage worked and the held-out loss fell."""

import json
import signal
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from stoker.demo.plan import DemoOptions
from stoker.demo.report import print_report
from stoker.demo.run import Demo
from stoker.demo.verdict import problems_of
from stoker.failures import show_failure
from stoker.stack.layout import write_private
from stoker.terminal.screen import results
from stoker_shared.clock import SystemClock

INTERRUPTED = 130
_DEFAULTS = DemoOptions()
Provider = Literal["local", "runpod"]


def demo(
    folder: Annotated[Path, typer.Option(help="Where everything is kept.")] = _DEFAULTS.folder,
    provider: Annotated[Provider, typer.Option(help="This machine, or pods of a simulated RunPod.")] = "local",
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = _DEFAULTS.steps,
    held_out_rows: Annotated[int, typer.Option(min=1, help="Rows to measure on.")] = _DEFAULTS.held_out_rows,
) -> None:
    """From nothing to a fine-tuned model, through every service of Stoker, on this machine."""
    options = DemoOptions(folder=folder, provider=provider, steps=steps, held_out_rows=held_out_rows)
    raise typer.Exit(run_demo(options, console=results()))


def run_demo(options: DemoOptions, *, console: Console) -> int:
    """Run it, print the report, write `result.json`. Returns the exit status."""
    signal.signal(signal.SIGTERM, _end)
    started, clock = time.monotonic(), SystemClock()
    demo_run = Demo(options, console=console, clock=clock)
    result, exit_status = demo_run.result, 1
    try:
        demo_run.run()
        result.problems = problems_of(result, options)
        exit_status = 1 if result.problems else 0
    except KeyboardInterrupt as interrupt:
        result.problems, exit_status = [f"Interrupted by {str(interrupt) or 'SIGINT'}."], INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nobody above; shown, and logged with its traceback
        result.problems = [str(error)]
        show_failure(error, console=console, log_file=options.folder / "demo.log", now=clock.now())
    result.total_seconds = round(time.monotonic() - started, 2)
    _write_result(options.folder, asdict(result) | {"ok": exit_status == 0})
    if result.answers:
        print_report(result, console=console, folder=options.folder)
    for problem in result.problems:
        console.print(f"\n[bold red]Not as it should be:[/] {problem}")
    if exit_status == 0:
        console.print("\n[bold green]All of it worked.[/]")
    return exit_status


def _write_result(folder: Path, content: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / "result.json", json.dumps(content, indent=1, ensure_ascii=False))


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # As Ctrl-C: the stack is stopped in good order.
    raise KeyboardInterrupt("SIGTERM")


if __name__ == "__main__":
    typer.run(demo)
