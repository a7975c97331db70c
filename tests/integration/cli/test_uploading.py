"""Uploads over real HTTP."""

import hashlib
import json
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
from stoker.client.transfer import FileFacts
from stoker.client.uploading import Upload
from tests.integration.cli.conftest import QUICK
from tests.integration.cli.contract_server import UPLOAD_TOKEN, ContractServer, Cut, Seen, problem, running

CONTENT = b'{"text": "hello"}\n' * 60_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of more than one chunk."""
    path = tmp_path / "rows.v2.jsonl"
    path.write_bytes(CONTENT)
    return path


def busy() -> list[Response | Callable[[], Response]]:
    return [problem(503, "temporarily_unavailable", "Not now.", headers={"Retry-After": "0"})]


def patches(server: ContractServer) -> list[Seen]:
    """The requests that brought bytes."""
    return [seen for seen in server.seen if seen.method == "PATCH"]


def upload_path(content: bytes = CONTENT) -> str:
    """Where the contract server takes this content."""
    return f"/v1/uploads/dataset-{hashlib.sha256(content).hexdigest()[:16]}"


def test_the_bytes_arrive_whole_with_length_and_token(server: ContractServer, client: Client, file: Path) -> None:
    dataset = client.upload_dataset(file)
    assert dataset.state == "stored"
    assert (dataset.name, dataset.filename) == ("rows", "rows.v2.jsonl")
    (patch,) = patches(server)
    assert patch.body == CONTENT
    assert patch.headers["content-length"] == str(len(CONTENT))
    assert patch.headers["content-type"] == "application/offset+octet-stream"
    assert patch.headers["upload-offset"] == "0"
    assert "transfer-encoding" not in patch.headers
    assert patch.headers["authorization"] == f"Bearer {UPLOAD_TOKEN}"


@pytest.mark.parametrize("convert", [True, False])
def test_whether_rows_may_be_converted_is_passed_on(
    server: ContractServer, client: Client, file: Path, *, convert: bool
) -> None:
    client.upload_dataset(file, convert=convert)
    (announced,) = server.requests("POST", "/v1/datasets")
    assert json.loads(announced.body)["convert"] is convert


def test_progress_ends_at_all_bytes_hashed_sent_and_checked(client: Client, file: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    client.upload_dataset(file, progress=lambda what, done, total: told.setdefault(what, []).append((done, total)))
    size = len(CONTENT)
    assert list(told) == ["hashing", "sending", "checking"]
    assert [steps[-1] for steps in told.values()] == [(size, size)] * 3
    assert (size // 2, size) in told["checking"]


def test_an_empty_file_is_sent_and_its_verdict_waited_for(server: ContractServer, client: Client, file: Path) -> None:
    file.write_bytes(b"")
    assert client.upload_dataset(file).state == "stored"
    (patch,) = patches(server)
    assert (patch.body, patch.headers["upload-offset"]) == (b"", "0")


def test_content_that_is_stored_is_not_sent_again(server: ContractServer, client: Client, file: Path) -> None:
    first = client.upload_dataset(file)
    second = client.upload_dataset(file)
    assert first.dataset_version_id == second.dataset_version_id
    assert len(patches(server)) == 1


def test_a_broken_connection_is_gone_on_with_where_the_server_has_it(
    server: ContractServer, client: Client, file: Path
) -> None:
    server.break_uploads_after = [1000, 0, 500_000, 1]
    assert client.upload_dataset(file).state == "stored"
    assert [int(patch.headers["upload-offset"]) for patch in patches(server)] == [0, 1000, 1000, 501_000, 501_001]
    assert patches(server)[-1].body == CONTENT[501_001:]


def test_a_connection_that_breaks_again_and_again_is_patient_as_long_as_something_arrives(
    server: ContractServer, client: Client, file: Path
) -> None:
    server.break_uploads_after = [10_000] * 60
    assert client.upload_dataset(file).state == "stored"
    assert len(patches(server)) == 61


def test_an_upload_that_never_gets_on_is_given_up_with_the_reason(
    server: ContractServer, client: Client, file: Path
) -> None:
    server.break_uploads_after = [0] * 1000
    with pytest.raises(ConnectionLost):
        client.upload_dataset(file)
    assert len(patches(server)) > 2


def test_what_an_earlier_process_has_sent_is_not_sent_again(server: ContractServer, client: Client, file: Path) -> None:
    server.received[upload_path().rpartition("/")[2]] = bytearray(CONTENT[:700_000])
    assert client.upload_dataset(file).state == "stored"
    (patch,) = patches(server)
    assert (patch.headers["upload-offset"], patch.body) == ("700000", CONTENT[700_000:])


def test_a_busy_server_is_asked_again(server: ContractServer, client: Client, file: Path) -> None:
    paths = ("POST /v1/datasets", f"HEAD {upload_path()}", f"PATCH {upload_path()}", f"GET {upload_path()}")
    server.failures = {path: busy() for path in paths}
    assert client.upload_dataset(file).state == "stored"
    assert [patch.body for patch in patches(server)] == [CONTENT, CONTENT]


def test_a_gateway_that_still_holds_the_broken_upload_is_asked_again(
    server: ContractServer, client: Client, file: Path
) -> None:
    server.failures = {f"PATCH {upload_path()}": [problem(423, "upload_in_progress", "Being uploaded.")]}
    assert client.upload_dataset(file).state == "stored"


def test_another_sender_that_was_faster_is_gone_on_after(server: ContractServer, client: Client, file: Path) -> None:
    def sent_meanwhile() -> Response:
        server.received[upload_path().rpartition("/")[2]] += CONTENT[:900]
        return problem(409, "upload_offset_conflict", "The upload goes on at byte 900.")

    server.failures = {f"PATCH {upload_path()}": [sent_meanwhile]}
    assert client.upload_dataset(file).state == "stored"
    assert patches(server)[-1].headers["upload-offset"] == "900"


def test_a_server_that_stays_busy_is_given_up_with_its_words(server: ContractServer, client: Client) -> None:
    server.failures = {"GET /v1/me": busy() * 1000}
    with pytest.raises(ServerBusy, match="Not now"):
        client.me()
    assert len(server.requests("GET", "/v1/me")) > 2


def test_an_upload_whose_answer_was_lost_is_found_to_be_there(
    server: ContractServer, client: Client, file: Path
) -> None:
    def came_whole() -> Response:
        server.received[upload_path().rpartition("/")[2]] += CONTENT
        return Cut()

    server.failures = {f"PATCH {upload_path()}": [came_whole]}
    assert client.upload_dataset(file).state == "stored"
    assert len(patches(server)) == 1


def test_a_conflict_about_something_else_is_told(server: ContractServer, client: Client, file: Path) -> None:
    server.failures = {f"PATCH {upload_path()}": [problem(409, "upload_decided", "It has ended.")]}
    with pytest.raises(Conflicting, match="has ended"):
        client.upload_dataset(file)


def test_bytes_that_arrived_otherwise_are_told_and_sent_anew_by_the_next_call(
    server: ContractServer, client: Client, file: Path
) -> None:
    server.received[upload_path().rpartition("/")[2]] = bytearray(b"x" * 1000)
    with pytest.raises(InvalidRequest, match="not those that were announced"):
        client.upload_dataset(file)
    assert client.upload_dataset(file).state == "stored"


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
    server.failures = {f"PATCH {upload_path()}": [problem(422, "format_unsupported", "Not this kind.")]}
    with pytest.raises(InvalidRequest, match="Not this kind") as caught:
        client.upload_dataset(file)
    assert not isinstance(caught.value, DatasetRejected)


def test_a_file_that_grows_while_it_is_sent_is_not_stored(server: ContractServer, file: Path) -> None:
    server.datasets["x"] = {"size_bytes": 0}
    facts = FileFacts(file, size_bytes=len(CONTENT) - 10, sha256="0" * 64)
    with pytest.raises(FileUnreadable, match="it changed while"):
        Upload(facts, url=f"{server.url}/v1/uploads/x", token=UPLOAD_TOKEN, retry=QUICK).run()


def test_a_file_that_shrinks_while_it_is_sent_is_not_stored(server: ContractServer, file: Path) -> None:
    server.datasets["x"] = {"size_bytes": 0}
    facts = FileFacts(file, size_bytes=len(CONTENT) + 10, sha256="0" * 64)
    with pytest.raises(FileUnreadable, match="it changed while"):
        Upload(facts, url=f"{server.url}/v1/uploads/x", token=UPLOAD_TOKEN, retry=QUICK).run()


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
