"""What the demo prints at its end."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from stoker.demo.plan import BUDGET_USD, QUESTION, DemoResult
from stoker.demo.stages import NAMES
from stoker.terminal.figures import curve, show_duration, show_money_range
from stoker.terminal.tables import table
from stoker_shared.money import show_usd


def print_report(result: DemoResult, *, console: Console, folder: Path) -> None:
    """Loss curve, gain, answers, cost, times, and where to look next."""
    console.print("\n[bold]Loss by training step[/]")
    for line in curve(result.losses, width=max(len(result.losses), 1)):
        console.print(line, markup=False)
    _print_gain(result, console)
    _print_answers(result, console)
    _print_cost(result, console)
    _print_times(result, console)
    _print_next(result, console, folder)


def _print_gain(result: DemoResult, console: Console) -> None:
    before, after = result.held_out.get("loss_before"), result.held_out.get("loss_after")
    if before is None or after is None:
        return
    change = 100 * (after - before) / before
    console.print(
        f"\n[bold]Held-out loss[/] ({result.held_out.get('rows')} rows never trained on, nats per token): "
        f"[bold]{before:.4f}[/] before, [bold green]{after:.4f}[/] after ({change:+.0f} %)",
    )


def _print_answers(result: DemoResult, console: Console) -> None:
    console.print(f"\n[bold]{escape(QUESTION)}[/]")
    for name, who in (("base", "base model "), ("tuned", "tuned model")):
        text = " ".join(result.answers.get(name, "").split())
        console.print(f"  {who}: {escape(text)}")


def _print_cost(result: DemoResult, console: Console) -> None:
    expected = result.forecast
    ranges = ""
    if expected:
        cost = show_money_range(expected["cost_micro_usd_low"], expected["cost_micro_usd_high"])
        low, high = show_duration(expected["seconds_low"]), show_duration(expected["seconds_high"])
        ranges = f"; forecast was {cost} and {low} to {high}"
    actual = f"{show_usd(result.cost_micro_usd)} of ${BUDGET_USD}, {show_duration(result.stages.get('train'))}"
    console.print(f"\n[bold]Cost[/] {actual}{ranges}")


def _print_times(result: DemoResult, console: Console) -> None:
    made = table("stage", ">time")
    for name, seconds in result.stages.items():
        made.add_row(NAMES[name].split(":")[0], show_duration(seconds))
    made.add_row("[bold]all[/]", f"[bold]{show_duration(result.total_seconds)}[/]")
    console.print()
    console.print(made)


def _print_next(result: DemoResult, console: Console, folder: Path) -> None:
    console.print(
        f"\n[bold]Where to look next[/]\n"
        f"  {folder / 'result' / result.job.get('job_id', '')}  the adapter, with metrics.json and receipt.json\n"
        f"  {folder / 'stack/logs'}  what each service said\n"
        f"  stoker up --data {folder / 'stack'}  the same stack again, with this job in it\n"
        f"  docs/architecture.md  how it works",
    )
