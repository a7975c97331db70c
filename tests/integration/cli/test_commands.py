"""The command line as a program: its output, its exit status, and what it says when things go wrong."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response

from tests.integration.cli.contract_content import JOB, alert, job, logs, metrics
from tests.integration.cli.contract_server import KEY, ContractServer, problem


@pytest.fixture
def environment(server: ContractServer, tmp_path: Path) -> dict[str, str]:
    """What the program is started with."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STOKER_URL": server.url,
        "STOKER_API_KEY": KEY,
        "STOKER_DATA": str(tmp_path / "data"),
    }


def stoker(*arguments: str | Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    command = [sys.executable, "-m", "stoker.main", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small dataset."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "hello"}\n')
    return path


def test_a_dataset_is_added_and_the_next_command_is_said(environment: dict[str, str], file: Path) -> None:
    done = stoker("data", "add", file, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "stoker plan dataset-" in done.stdout


def test_json_is_all_that_stands_on_standard_output(environment: dict[str, str], file: Path) -> None:
    added = json.loads(stoker("data", "add", file, "--json", environment=environment).stdout)
    listed = json.loads(stoker("data", "list", "--json", environment=environment).stdout)
    assert added["state"] == "stored"
    assert [dataset["dataset_version_id"] for dataset in listed] == [added["dataset_version_id"]]


def test_bad_rows_are_shown_with_their_lines(server: ContractServer, environment: dict[str, str], file: Path) -> None:
    server.rejected_with = [{"line": 17, "column": "messages", "code": "no_answer", "message": "no assistant turn"}]
    done = stoker("data", "add", file, environment=environment)
    assert done.returncode == 1
    assert "17" in done.stderr
    assert "no assistant turn" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_job_is_watched_in_plain_lines_without_a_terminal(
    server: ContractServer, environment: dict[str, str]
) -> None:
    server.streams = [[job(1, "queued"), job(2, "training"), logs(1), metrics(1, 2), job(3, "completed")]]
    done = stoker("watch", JOB, environment=environment)
    assert done.returncode == 0, done.stderr
    told = [line.split()[1] for line in done.stdout.splitlines()[:3]]
    assert told == ["queued", "training", "completed"]
    assert f"stoker artifacts get {JOB}" in done.stdout


def test_a_job_that_fails_is_status_1_with_reason_and_advice(
    server: ContractServer, environment: dict[str, str]
) -> None:
    failed = {"job_id": JOB, "status": "failed", "message": "Out of memory.", "advice": "Use a smaller batch."}
    # Asked for at the start, perhaps once more for its place in the queue, and at the end.
    queued = JSONResponse({"job_id": JOB, "status": "queued"})
    server.failures = {f"GET /v1/jobs/{JOB}": [queued, JSONResponse(failed), JSONResponse(failed)]}
    server.streams = [[job(1, "failed")]]
    done = stoker("watch", JOB, environment=environment)
    assert done.returncode == 1
    assert "Out of memory." in done.stdout
    assert "Next: Use a smaller batch." in done.stdout


def test_ctrl_c_leaves_the_job_running_and_says_so(server: ContractServer, environment: dict[str, str]) -> None:
    server.streams = [[job(1, "training")]]
    command = [sys.executable, "-m", "stoker.main", "watch", JOB]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        # Of a process that a shell runs in the background children inherit that they ignore SIGINT.
        command,
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    ) as program:
        assert program.stdout is not None
        try:
            assert "training" in program.stdout.readline()
            program.send_signal(signal.SIGINT)
            _output, said = program.communicate(timeout=30)
        finally:
            program.kill()
    assert program.returncode == 130
    assert f"{JOB} goes on" in said
    assert f"stoker cancel {JOB}" in said
    assert "Traceback" not in said
    assert server.requests("POST", f"/v1/jobs/{JOB}/cancel") == []


def test_the_log_is_printed_line_by_line(server: ContractServer, environment: dict[str, str]) -> None:
    server.lines = logs(1, 2)[1]["lines"]
    assert stoker("logs", JOB, environment=environment).stdout == "line 1\nline 2\n"


def test_the_log_is_searched_and_downloaded(
    server: ContractServer, environment: dict[str, str], tmp_path: Path
) -> None:
    server.lines = logs(*range(1, 13))[1]["lines"]
    found = stoker("logs", JOB, "--search", "line 1", environment=environment)
    assert found.stdout == "1: line 1\n10: line 10\n11: line 11\n12: line 12\n"
    file = tmp_path / "job.log"
    stoker("logs", JOB, "--download", str(file), environment=environment)
    assert file.read_text() == "".join(f"line {number}\n" for number in range(1, 13))
    assert list(tmp_path.glob("*.part")) == []
    both = stoker("logs", JOB, "--tail", "1", "--search", "x", environment=environment)
    assert both.returncode == 2
    assert "do not go together" in both.stderr


def test_alerts_of_all_attempts_are_shown_and_a_cap_is_said(
    server: ContractServer, environment: dict[str, str]
) -> None:
    assert stoker("alerts", JOB, environment=environment).stdout == "no alerts\n"
    server.alerts = [alert(1, 7, message="[bold]2 rows[/] are cut"), alert(2, 3, level="error", message="no space")]
    server.capped = ["warning"]
    shown = stoker("alerts", JOB, environment=environment)
    assert [line.split()[2:5] for line in shown.stdout.splitlines()[1:]] == [
        ["1", "warning", "rows_truncated"],
        ["2", "error", "rows_truncated"],
    ]
    assert "[bold]2 rows[/] are cut" in shown.stdout
    assert "no more warnings" in shown.stderr
    told = json.loads(stoker("alerts", JOB, "--json", environment=environment).stdout)
    assert (told["capped"], [found["sequence"] for found in told["alerts"]]) == (["warning"], [7, 3])


def test_newest_metrics_stand_side_by_side(server: ContractServer, environment: dict[str, str]) -> None:
    shown = stoker("metrics", JOB, "job-00000000000000ff", environment=environment).stdout
    assert "0.25" in shown
    assert "job-00000000000000ff" in shown


def test_files_are_fetched_and_listed_with_their_whole_checksum(
    server: ContractServer, environment: dict[str, str], tmp_path: Path
) -> None:
    server.artifact = b"weights"
    done = stoker("artifacts", "get", JOB, "--to", tmp_path / "out", environment=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/adapter_model.safetensors").read_bytes() == b"weights"
    assert "1 files in" in done.stdout
    assert hashlib.sha256(b"weights").hexdigest() in done.stdout


def test_checkpoints_are_fetched_only_if_asked_for(
    server: ContractServer, environment: dict[str, str], tmp_path: Path
) -> None:
    server.artifact, server.artifact_name = b"weights", "checkpoints/5/optimizer.pt"
    without = stoker("artifacts", "get", JOB, "--to", tmp_path / "out", environment=environment)
    assert without.returncode == 1
    assert not (tmp_path / "out").exists()
    done = stoker("artifacts", "get", JOB, "--to", tmp_path / "out", "--checkpoints", environment=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/checkpoints/5/optimizer.pt").read_bytes() == b"weights"


def test_files_are_deleted_by_name_or_folder_and_nothing_without_a_yes(
    server: ContractServer, environment: dict[str, str]
) -> None:
    server.artifact, server.artifact_name = b"weights", "checkpoints/5/optimizer.pt"
    for names in (["checkpoints"], ["optimizer.pt"], ["checkpoints/6/", "--yes"]):
        none = stoker("artifacts", "rm", JOB, *names, environment=environment)
        assert (none.returncode, "nothing of that name" in none.stderr) == (1, True)
    assert stoker("artifacts", "rm", JOB, "checkpoints/", environment=environment).returncode == 1
    assert server.deleted == []
    done = stoker("artifacts", "rm", JOB, "checkpoints/", "--yes", environment=environment)
    assert (done.returncode, done.stdout.strip()) == (0, "1 files deleted.")
    assert server.deleted == ["artifact-00000000000000aa"]


def test_a_damaged_file_is_status_1(server: ContractServer, environment: dict[str, str], tmp_path: Path) -> None:
    server.artifact, server.artifact_sha256 = b"weights", "0" * 64
    done = stoker("artifacts", "get", JOB, "--to", tmp_path / "out", environment=environment)
    assert done.returncode == 1
    assert "arrived damaged" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "dataset-1"], "--model"),
        (["plan", "dataset-1", "--model", "m", "--batch", "0"], "batch.per_device"),
        (["plan", "dataset-1", "--model", "m", "--env", "NAME"], "NAME=VALUE"),
        (["plan", "dataset-1", "--modle", "m"], "--modle"),
        (["fly"], "fly"),
    ],
)
def test_a_wrong_command_line_is_status_2(environment: dict[str, str], arguments: list[str], said: str) -> None:
    done = stoker(*arguments, environment=environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refusal_shows_next_step_and_trace_but_no_traceback(
    server: ContractServer, environment: dict[str, str]
) -> None:
    server.failures = {f"GET /v1/jobs/{JOB}": [problem(404, "not_found", "There is no such job.")]}
    done = stoker("job", "show", JOB, environment=environment)
    assert done.returncode == 1
    assert "There is no such job." in done.stderr
    assert "ab" * 16 in done.stderr
    assert "Traceback" not in done.stderr


def test_an_id_that_leads_elsewhere_is_not_sent(server: ContractServer, environment: dict[str, str]) -> None:
    done = stoker("job", "show", "../me", environment=environment)
    assert done.returncode == 1
    assert "'../me' cannot be an id" in done.stderr
    assert server.seen == []


def test_no_server_says_how_to_start_one(environment: dict[str, str]) -> None:
    del environment["STOKER_URL"]
    done = stoker("jobs", environment=environment)
    assert done.returncode == 1
    assert "stoker up" in done.stderr


def test_an_answer_that_is_no_json_of_ours_is_told_as_such(server: ContractServer, environment: dict[str, str]) -> None:
    server.failures = {"GET /v1/datasets": [Response("<html>")]}
    done = stoker("data", "list", environment=environment)
    assert done.returncode == 1
    assert "cannot be understood" in done.stderr


def test_a_recipe_that_is_a_folder_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    done = stoker("plan", "dataset-1", "--recipe", tmp_path, environment=environment)
    assert done.returncode == 2
    assert "Is a directory" in done.stderr


def test_the_program_starts_quickly_enough_to_be_typed(environment: dict[str, str]) -> None:
    loaded = (
        "import sys, stoker.main; print([n for n in ('torch', 'sqlalchemy', 'fastapi', 'nats') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_budgets_are_set_and_shown(environment: dict[str, str], server: ContractServer) -> None:
    done = stoker("budget", "set", "2.50", "--project", "p", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "$2.0000" in done.stdout  # free: half a dollar is committed
    assert stoker("budget", "set", "none", environment=environment).returncode == 0
    assert [(limit["kind"], limit["name"], limit["limit_micro_usd"]) for limit in server.limits] == [
        ("project", "p", 2_500_000),
        ("user", "", None),
    ]
    shown = stoker("budget", "show", environment=environment)
    assert "project p" in shown.stdout
    assert "all your jobs" in shown.stdout
    as_json = json.loads(stoker("budget", "show", "--json", environment=environment).stdout)
    assert as_json[0]["kind"] == "user"


SECRET = "rpa_A0KEY0THAT0NOBODY0SHOWS"


def with_input(*arguments: str, text: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the program with something on its standard input."""
    command = [sys.executable, "-m", "stoker.main", *arguments]
    return subprocess.run(command, env=environment, input=text, capture_output=True, text=True, timeout=60, check=False)


def test_a_secret_is_sent_once_and_shown_by_its_end_only(environment: dict[str, str], server: ContractServer) -> None:
    done = with_input("secrets", "set", "runpod", "--stdin", text=f"{SECRET}\n", environment=environment)
    assert done.returncode == 0, done.stderr
    (sent,) = server.requests("PUT", "/v1/secrets/runpod")
    assert json.loads(sent.body) == {"value": SECRET}
    listed = stoker("secrets", "list", environment=environment)
    assert "...HOWS" in listed.stdout
    assert "Not set: huggingface, wandb." in listed.stderr
    removed = stoker("secrets", "rm", "runpod", environment=environment)
    assert "runpod is gone" in removed.stderr
    assert SECRET not in "".join(part for one in (done, listed, removed) for part in (one.stdout, one.stderr))


def test_a_secret_that_nobody_could_check_is_said_to_be_so(environment: dict[str, str]) -> None:
    done = with_input("secrets", "set", "wandb", "--stdin", text=SECRET, environment=environment)
    assert done.returncode == 0
    assert "could not be asked" in done.stderr
    as_json = json.loads(stoker("secrets", "list", "--json", environment=environment).stdout)
    assert [secret["state"] for secret in as_json["secrets"]] == ["unchecked"]


@pytest.mark.parametrize(("arguments", "text"), [((), SECRET), (("--stdin",), "\n")])
def test_without_a_key_or_a_terminal_to_ask_for_it_nothing_is_sent(
    environment: dict[str, str], server: ContractServer, arguments: tuple[str, ...], text: str
) -> None:
    done = with_input("secrets", "set", "runpod", *arguments, text=text, environment=environment)
    assert done.returncode == 2
    assert server.requests("PUT", "/v1/secrets/runpod") == []
    assert SECRET not in done.stderr
