"""The doctor's findings as a table."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stoker.stack.findings import Finding, Level

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red"}


def show_findings(console: Console, findings: Sequence[Finding]) -> int:
    """Print the findings. Returns the exit status: 1 if there is a fault."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")
    for finding in findings:
        what = Text(finding.what)
        if finding.advice:
            what.append(f"\n{finding.advice}", style="italic")
        table.add_row(Text(str(finding.level), style=STYLES[finding.level]), Text(finding.subject), what)
    console.print(table)
    faults = sum(finding.level is Level.FAULT for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    console.print(f"{faults} faults, {warnings} warnings, {len(findings)} checks.")
    return 1 if faults else 0
