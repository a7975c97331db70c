"""A plan on the screen: what blocks it, how it fits, what it takes and costs, where it may run."""

from rich.console import Console
from rich.markup import escape

from stoker.client.models import Disk, Fault, Fit, Forecast, Plan, TokenLengths
from stoker.terminal.figures import show_bytes, show_duration, show_money_range
from stoker.terminal.tables import ranked_offer_table, table
from stoker_shared.money import show_usd


def print_plan(plan: Plan, console: Console) -> None:
    """The whole plan, the verdict last."""
    if plan.dataset is not None:
        rows = f"{plan.dataset.statistics.rows:,} rows, {show_bytes(plan.dataset.size_bytes)}"
        console.print(f"dataset   {plan.dataset.dataset_version_id}  {escape(plan.dataset.name)}: {rows}")
    if plan.model is not None:
        model = plan.model
        console.print(
            f"model     {escape(model.name_or_path)}: {model.architecture}, {model.parameters / 1e6:,.1f} M parameters",
        )
    if plan.tokens is not None:
        console.print(_tokens_line(plan.tokens))
    if plan.fit is not None:
        _print_fit(plan.fit, console)
    if plan.disk is not None:
        console.print(_disk_line(plan.disk))
    if plan.forecast is not None:
        _print_forecast(plan.forecast, console)
    if plan.budget is not None:
        default = " (the default)" if plan.budget.is_default else ""
        reserved = f"an attempt reserves {show_usd(plan.budget.minimum_micro_usd)}"
        console.print(f"budget    {show_usd(plan.budget.budget_micro_usd)}{default}; {reserved}")
    if plan.offers:
        console.print()
        console.print(ranked_offer_table(plan.offers))
    _print_faults("worth knowing", plan.warnings, console, style="yellow")
    _print_faults("in the way", plan.blocking, console, style="red")
    _print_verdict(plan, console)


def _tokens_line(tokens: TokenLengths) -> str:
    how = f"counted on {tokens.rows_measured:,} of {tokens.rows:,}" if tokens.is_counted else "estimated"
    share = tokens.truncated_share
    cut = "unknown how many are cut" if share is None else f"{100 * share:.1f} % of them cut"
    return f"tokens    {tokens.p50:,} in half of the rows, {tokens.p95:,} in 95 %, {tokens.max:,} at most; {cut}; {how}"


def _print_fit(fit: Fit, console: Console) -> None:
    where = "one GPU" if fit.on_gpu else "a machine without GPU"
    console.print(f"memory    {show_bytes(fit.needed_bytes)} on {where}, headroom included")
    made = table("          for", ">bytes", ">share")
    parts = {name: size for name, size in fit.need.items() if name != "trained_parameters" and size}
    for name, size in sorted(parts.items(), key=lambda item: -item[1]):
        share = f"{100 * size / max(fit.total_bytes, 1):.0f} %"
        made.add_row(f"          {name.replace('_', ' ')}", show_bytes(size), share)
    console.print(made)


def _disk_line(disk: Disk) -> str:
    parts = ", ".join(f"{name} {show_bytes(size)}" for name, size in sorted(disk.need.items(), key=lambda it: -it[1]))
    volume = f"; a volume of {disk.volume_size_gb} GB" if disk.volume_size_gb is not None else ""
    return f"disk      {show_bytes(disk.total_bytes)} on a rented machine ({parts}){volume}"


def _print_forecast(forecast: Forecast, console: Console) -> None:
    time = f"{show_duration(float(forecast.seconds_low))} to {show_duration(float(forecast.seconds_high))}"
    cost = show_money_range(forecast.cost_micro_usd_low, forecast.cost_micro_usd_high)
    console.print(f"forecast  {forecast.steps:,} steps, {forecast.tokens:,} tokens: {time}{_stay(forecast)}, {cost}")
    if forecast.basis:
        console.print(f"          from {escape(forecast.basis)}", style="dim")


def _stay(forecast: Forecast) -> str:
    if not forecast.keep_alive_seconds:
        return ""
    return f" ({show_duration(float(forecast.keep_alive_seconds))} of which the machine stays after a success)"


def _print_faults(title: str, faults: list[Fault], console: Console, *, style: str) -> None:
    if not faults:
        return
    console.print(f"\n[bold {style}]{title}[/]")
    for fault in faults:
        console.print(f"  [{style}]{escape(fault.code)}[/]: {escape(fault.message)}")
        if fault.next_step:
            console.print(f"    {escape(fault.next_step)}")


def _print_verdict(plan: Plan, console: Console) -> None:
    console.print()
    console.print(f"plan      [bold]{plan.plan_id}[/]\nhash      {plan.plan_hash}")
    if plan.is_launchable:
        console.print(f"[bold green]ready[/]     stoker launch {plan.plan_id} --watch")
    else:
        console.print("[bold red]blocked[/]   Mend what is in the way and plan again.")
