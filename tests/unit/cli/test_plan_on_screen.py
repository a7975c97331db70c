"""A plan as it is printed."""

import io
from typing import Any

from rich.console import Console

from stoker.client.models import Plan
from stoker.terminal.plans import print_plan

COUNTED = {
    "p50": 87,
    "p95": 240,
    "max": 1032,
    "total": 100_000,
    "truncated_share": 0.032,
    "rows": 2000,
    "rows_measured": 1000,
    "is_counted": True,
    "basis": "the model's tokenizer",
}


def lines(**fields: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    print_plan(Plan.model_validate({"plan_id": "p", "plan_hash": "h", "is_launchable": True, **fields}), console)
    assert isinstance(console.file, io.StringIO)
    return [line for line in console.file.getvalue().splitlines() if line.startswith(("tokens", "forecast", "disk"))]


def test_counted_tokens_are_one_line() -> None:
    assert lines(tokens=COUNTED) == [
        "tokens    87 in half of the rows, 240 in 95 %, 1,032 at most; 3.2 % of them cut; counted on 1,000 of 2,000"
    ]


def test_an_estimate_says_so_and_what_it_does_not_know() -> None:
    estimate = COUNTED | {"is_counted": False, "rows_measured": 0, "truncated_share": None}
    assert lines(tokens=estimate) == [
        "tokens    87 in half of the rows, 240 in 95 %, 1,032 at most; unknown how many are cut; estimated"
    ]


def test_a_plan_without_tokens_prints_none() -> None:
    assert lines() == []


def test_a_stay_after_the_success_is_part_of_the_forecast() -> None:
    forecast = {
        "seconds_low": 700,
        "seconds_high": 1300,
        "cost_micro_usd_low": 1_000_000,
        "cost_micro_usd_high": 2_000_000,
    }
    (without,) = lines(forecast=forecast)
    (kept,) = lines(forecast=forecast | {"keep_alive_seconds": 600})
    assert "of the machine after" not in without
    assert "10 min 00 s of which the machine stays after a success" in kept


def test_what_a_run_needs_on_disk_is_one_line_with_the_largest_part_first() -> None:
    disk = {"need": {"packages": 8 * 10**9, "model": 16 * 10**9}, "total_bytes": 24 * 10**9, "least_volume_gb": 27}
    assert lines(disk=disk) == ["disk      24.0 GB on a rented machine (model 16.0 GB, packages 8.0 GB)"]
    (larger,) = lines(disk=disk | {"volume_size_gb": 60})
    assert larger.endswith("; a volume of 60 GB")
