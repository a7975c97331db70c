"""What a user sees of an error, and what goes to the log file."""

import io
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from stoker.client.errors import DatasetRejected, NotFound
from stoker.failures import show_failure
from stoker_shared.rpc.dataset_gateway import RowFault

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def shown(error: Exception, log_file: Path) -> str:
    console = Console(file=io.StringIO(), width=200)
    try:
        raise error
    except Exception as raised:  # noqa: BLE001 - as the program does
        show_failure(raised, console=console, log_file=log_file, now=NOON)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_fault_of_ours_shows_no_traceback_but_logs_it(tmp_path: Path) -> None:
    log_file = tmp_path / "logs/cli.log"
    text = shown(KeyError("colour"), log_file)
    assert "Traceback" not in text
    assert str(log_file) in text
    assert "Traceback" in log_file.read_text()


def test_no_secret_reaches_screen_or_log(tmp_path: Path) -> None:
    log_file = tmp_path / "logs/cli.log"
    error = RuntimeError("GET http://host/d?token=abcdefgh with Bearer stk_0123456789abcdef")
    text = shown(error, log_file) + log_file.read_text()
    assert "abcdefgh" not in text
    assert "0123456789abcdef" not in text


def test_a_refusal_shows_detail_fields_next_step_and_trace(tmp_path: Path) -> None:
    problem = {
        "detail": "No such job.",
        "next_step": "List them.",
        "trace_id": "f" * 32,
        "errors": [{"field": "job_id", "message": "unknown [red]"}],
    }
    text = shown(NotFound(status=404, problem=problem), tmp_path / "missing/cli.log")
    for part in ("No such job.", "List them.", "f" * 32, "job_id: unknown [red]"):
        assert part in text


def test_a_refusal_makes_no_folder(tmp_path: Path) -> None:
    shown(NotFound(status=404, problem={"detail": "No."}), tmp_path / "mistyped/cli.log")
    assert not (tmp_path / "mistyped").exists()


def test_rejected_rows_are_a_table_with_their_lines(tmp_path: Path) -> None:
    faults = [
        RowFault(line=number, column="messages", code="no_answer", message="no assistant turn")
        for number in range(1, 30)
    ]
    error = DatasetRejected(
        status=422, problem={"detail": "It has faults."}, faults=faults, faults_total=40, version_id="dataset-1"
    )
    text = shown(error, tmp_path / "cli.log")
    assert "no assistant turn" in text
    assert "  20  " in text
    assert "  21  " not in text
    assert "20 more: stoker data show dataset-1" in text


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "could not be written" in shown(RuntimeError("x"), blocked / "cli.log")
