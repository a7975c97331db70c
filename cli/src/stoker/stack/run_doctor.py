"""The doctor from the command line."""

import asyncio
from pathlib import Path

from rich.console import Console

from stoker.stack.doctor import examine
from stoker.stack.doctor_report import show_findings
from stoker.stack.run_up import explain, read_stack_settings
from stoker_shared.errors import StokerError


def run_doctor(data: Path | None) -> int:
    """Examine machine and stack, print what was found. Returns the exit status: 1 if there is a fault."""
    console = Console()
    try:
        findings = asyncio.run(examine(read_stack_settings(data, None)))
    except StokerError as fault:
        explain(console, fault)
        return 1
    return show_findings(console, findings)
