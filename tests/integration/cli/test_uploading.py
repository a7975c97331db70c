"""Uploads over real HTTP."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import Response

from stoker.client import Client
from stoker.client.errors import (
    Conflicting,
    ConnectionLost,
    DatasetRejected,
    FileUnreadable,
    InvalidRequest,
    NotSignedIn,
    ServerBusy,
)
from stoker.client.transfer import FileFacts, upload
from tests.integration.cli.conftest import QUICK
from tests.integration.cli.contract_server import UPLOAD_TOKEN, ContractServer, problem, running

CONTENT = b'{"text": "hello"}\n' * 60_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of more than one chunk."""
    path = tmp_path / "rows.v2.jsonl"
    path.write_bytes(CONTENT)
    return path


def busy() -> list[Response | Callable[[], Response]]:
    return [problem(503, "temporarily_unavailable", "Not now.", headers={"Retry-After": "0"})]


def test_the_bytes_arrive_whole_with_length_and_token(server: ContractServer, client: Client, file: Path) -> None:
    dataset = client.upload_dataset(file)
    assert dataset.state == "stored"
    assert (dataset.name, dataset.filename) == ("rows", "rows.v2.jsonl")
    (put,) = [seen for seen in server.seen if seen.method == "PUT"]
    assert put.body == CONTENT
    assert put.headers["content-length"] == str(len(CONTENT))
    assert "transfer-encoding" not in put.headers
    assert put.headers["authorization"] == f"Bearer {UPLOAD_TOKEN}"


def test_progress_ends_at_all_bytes_hashed_and_sent(client: Client, file: Path) -> None:
    told: dict[str, tuple[int, int]] = {}
    client.upload_dataset(file, progress=lambda what, done, total: told.update({what: (done, total)}))
    assert told == {"hashing": (len(CONTENT), len(CONTENT)), "sending": (len(CONTENT), len(CONTENT))}


def test_content_that_is_stored_is_not_sent_again(server: ContractServer, client: Client, file: Path) -> None:
    first = client.upload_dataset(file)
    second = client.upload_dataset(file)
    assert first.dataset_version_id == second.dataset_version_id
    assert sum(seen.method == "PUT" for seen in server.seen) == 1


def test_a_busy_server_is_asked_again(server: ContractServer, client: Client, file: Path) -> None:
    upload_path = f"PUT /v1/uploads/dataset-{hashlib.sha256(CONTENT).hexdigest()[:16]}"
    server.failures = {"POST /v1/datasets": busy(), upload_path: busy()}
    assert client.upload_dataset(file).state == "stored"
    puts = [seen for seen in server.seen if seen.method == "PUT"]
    assert [put.body for put in puts] == [CONTENT, CONTENT]


def test_a_gateway_that_still_holds_the_broken_upload_is_asked_again(
    server: ContractServer, client: Client, file: Path
) -> None:
    upload_path = f"PUT /v1/uploads/dataset-{hashlib.sha256(CONTENT).hexdigest()[:16]}"
    server.failures = {upload_path: [problem(409, "upload_in_progress", "Being uploaded.")]}
    assert client.upload_dataset(file).state == "stored"


def test_a_server_that_stays_busy_is_given_up_with_its_words(server: ContractServer, client: Client) -> None:
    server.failures = {"GET /v1/me": busy() * 1000}
    with pytest.raises(ServerBusy, match="Not now"):
        client.me()
    assert len(server.requests("GET", "/v1/me")) > 2


def test_an_upload_whose_answer_was_lost_is_found_stored(server: ContractServer, client: Client, file: Path) -> None:
    version_id = f"dataset-{hashlib.sha256(CONTENT).hexdigest()[:16]}"

    def stored_meanwhile() -> Response:
        server.datasets[version_id]["state"] = "stored"
        return problem(409, "already_stored", "Stored already.")

    server.failures = {f"PUT /v1/uploads/{version_id}": [stored_meanwhile]}
    assert client.upload_dataset(file).state == "stored"


def test_a_conflict_about_something_else_is_told(server: ContractServer, client: Client, file: Path) -> None:
    version_id = f"dataset-{hashlib.sha256(CONTENT).hexdigest()[:16]}"
    server.failures = {f"PUT /v1/uploads/{version_id}": [problem(409, "upload_expired", "It took too long.")]}
    with pytest.raises(Conflicting, match="too long"):
        client.upload_dataset(file)


def test_bad_rows_come_back_with_their_lines(server: ContractServer, client: Client, file: Path) -> None:
    server.rejected_with = [
        {"line": 3, "column": "messages", "code": "no_answer", "message": "no assistant turn", "excerpt": "{}"},
        {"line": 9, "column": "", "code": "not_json", "message": "not JSON"},
    ]
    with pytest.raises(DatasetRejected) as caught:
        client.upload_dataset(file)
    assert [(fault.line, fault.code) for fault in caught.value.faults] == [(3, "no_answer"), (9, "not_json")]
    assert caught.value.faults_total == 2
    assert caught.value.trace_id == "ab" * 16
    assert caught.value.dataset_version_id.startswith("dataset-")


def test_a_refusal_that_is_not_about_rows_is_no_rejection(server: ContractServer, client: Client, file: Path) -> None:
    version_id = f"dataset-{hashlib.sha256(CONTENT).hexdigest()[:16]}"
    server.failures = {f"PUT /v1/uploads/{version_id}": [problem(422, "format_unsupported", "Not this kind.")]}
    with pytest.raises(InvalidRequest, match="Not this kind") as caught:
        client.upload_dataset(file)
    assert not isinstance(caught.value, DatasetRejected)


def test_a_file_that_grows_while_it_is_sent_is_not_stored(server: ContractServer, file: Path) -> None:
    facts = FileFacts(file, size_bytes=len(CONTENT) - 10, sha256="0" * 64)
    with pytest.raises(FileUnreadable, match="it changed while"):
        upload(facts, url=f"{server.url}/v1/uploads/x", token=UPLOAD_TOKEN, retry=QUICK)


def test_a_file_that_shrinks_while_it_is_sent_is_not_stored(server: ContractServer, file: Path) -> None:
    facts = FileFacts(file, size_bytes=len(CONTENT) + 10, sha256="0" * 64)
    with pytest.raises(FileUnreadable, match="it changed while"):
        upload(facts, url=f"{server.url}/v1/uploads/x", token=UPLOAD_TOKEN, retry=QUICK)


def test_a_missing_file_is_named_before_anybody_is_asked(server: ContractServer, client: Client) -> None:
    with pytest.raises(FileUnreadable, match=r"nowhere\.jsonl: No such file"):
        client.upload_dataset("nowhere.jsonl")
    assert server.seen == []


def test_a_wrong_key_is_said_at_once(server: ContractServer) -> None:
    with Client(server.url, "stk_wrong", retry=QUICK) as client, pytest.raises(NotSignedIn):
        client.me()
    assert len(server.seen) == 1


def test_a_server_that_is_away_is_named() -> None:
    with running(ContractServer()) as gone:
        url = gone.url
    with Client(url, "stk_any", retry=QUICK) as client, pytest.raises(ConnectionLost, match=url):
        client.me()
