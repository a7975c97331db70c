"""Downloads over real HTTP."""

import hashlib
from pathlib import Path

import pytest
from starlette.responses import Response

from stoker.client import Client
from stoker.client.errors import AnswerNotUnderstood, ConnectionLost, DownloadDamaged, FileUnreadable, Refused
from stoker_shared.rpc.dataset_gateway import ArtifactFacts
from tests.integration.cli.contract_content import JOB
from tests.integration.cli.contract_server import ContractServer, problem

CONTENT = bytes(range(256)) * 200
DOWNLOAD = "GET /v1/artifacts/download"


@pytest.fixture
def artifact(server: ContractServer, client: Client) -> ArtifactFacts:
    """A file of 51,200 bytes."""
    server.artifact = CONTENT
    (found,) = client.artifacts(JOB)
    return found


def ranges(server: ContractServer) -> list[str | None]:
    return [seen.headers.get("range") for seen in server.requests("GET", "/v1/artifacts/download")]


def test_a_file_arrives_whole_under_its_name_alone(client: Client, artifact: ArtifactFacts, tmp_path: Path) -> None:
    done: list[int] = []
    path = client.download_artifact(artifact, tmp_path / "new", progress=lambda now, _total: done.append(now))
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["adapter_model.safetensors"]
    assert done[-1] == len(CONTENT)


def test_a_broken_download_goes_on_where_it_stopped(
    server: ContractServer, client: Client, artifact: ArtifactFacts, tmp_path: Path
) -> None:
    server.break_after = [20_000, 5_000]
    assert client.download_artifact(artifact, tmp_path).read_bytes() == CONTENT
    starts = [int((text or "bytes=0-")[6:-1]) for text in ranges(server)]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert 0 < starts[1] <= 20_000


def test_a_download_that_breaks_often_but_moves_on_is_never_given_up(
    server: ContractServer, client: Client, artifact: ArtifactFacts, tmp_path: Path
) -> None:
    server.break_after = [1000] * 45
    assert client.download_artifact(artifact, tmp_path).read_bytes() == CONTENT


def test_what_an_earlier_program_fetched_is_not_fetched_again(
    server: ContractServer, client: Client, artifact: ArtifactFacts, tmp_path: Path
) -> None:
    server.break_after = [10_000] + [0] * 1000
    with pytest.raises(ConnectionLost):
        client.download_artifact(artifact, tmp_path)
    assert not (tmp_path / artifact.name).exists()
    server.break_after, server.seen = [], []
    assert client.download_artifact(artifact, tmp_path).read_bytes() == CONTENT
    (only,) = ranges(server)
    assert only is not None
    assert int(only[6:-1]) > 0


def test_bytes_that_changed_behind_the_address_are_fetched_whole_and_refused(
    server: ContractServer, client: Client, artifact: ArtifactFacts, tmp_path: Path
) -> None:
    part = tmp_path / f".{artifact.name}.{artifact.sha256[:12]}.part"
    part.write_bytes(CONTENT[:10_000])
    server.artifact = CONTENT[::-1]
    with pytest.raises(DownloadDamaged):
        client.download_artifact(artifact, tmp_path)
    (asked,) = server.requests("GET", "/v1/artifacts/download")
    assert (asked.headers["range"], asked.headers["if-range"]) == ("bytes=10000-", f'"{artifact.sha256}"')
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_ranges_is_fetched_from_the_start(
    server: ContractServer, client: Client, artifact: ArtifactFacts, tmp_path: Path
) -> None:
    server.break_after = [10_000]
    server.failures = {}
    path = tmp_path / f".{artifact.name}.{artifact.sha256[:12]}.part"
    path.write_bytes(b"x" * 500)
    server.failures = {DOWNLOAD: [Response(CONTENT)]}
    assert client.download_artifact(artifact, tmp_path).read_bytes() == CONTENT


def test_a_damaged_file_is_not_kept(
    server: ContractServer, client: Client, artifact: ArtifactFacts, tmp_path: Path
) -> None:
    server.artifact = CONTENT[:-1] + b"\0"
    with pytest.raises(DownloadDamaged) as caught:
        client.download_artifact(artifact, tmp_path)
    assert hashlib.sha256(CONTENT).hexdigest() in caught.value.detail
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_was_damaged_on_disk_does_not_last(client: Client, artifact: ArtifactFacts, tmp_path: Path) -> None:
    part = tmp_path / f".{artifact.name}.{artifact.sha256[:12]}.part"
    part.write_bytes(b"x" * 500)
    with pytest.raises(DownloadDamaged):
        client.download_artifact(artifact, tmp_path)
    assert client.download_artifact(artifact, tmp_path).read_bytes() == CONTENT


def test_an_older_file_of_that_name_is_replaced(client: Client, artifact: ArtifactFacts, tmp_path: Path) -> None:
    (tmp_path / artifact.name).write_bytes(b"old")
    assert client.download_artifact(artifact, tmp_path).read_bytes() == CONTENT


def test_an_empty_file_is_a_file(server: ContractServer, client: Client, tmp_path: Path) -> None:
    server.artifact = b""
    (empty,) = client.artifacts(JOB)
    assert client.download_artifact(empty, tmp_path).read_bytes() == b""


def test_a_refused_token_is_said_without_showing_it(
    server: ContractServer, client: Client, artifact: ArtifactFacts, tmp_path: Path
) -> None:
    server.failures = {DOWNLOAD: [problem(401, "token_refused", "The token is not accepted.")]}
    with pytest.raises(Refused, match="not accepted") as caught:
        client.download_artifact(artifact, tmp_path)
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("name", ["../up.txt", "/etc/passwd", "a/../../b", "", "a\\..\\b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    server: ContractServer, client: Client, tmp_path: Path, name: str
) -> None:
    server.artifact, server.artifact_name = b"x", name
    (odd,) = client.artifacts(JOB)
    with pytest.raises(AnswerNotUnderstood, match="no name of a file"):
        client.download_artifact(odd, tmp_path)


def test_a_folder_that_cannot_be_made_is_named(client: Client, artifact: ArtifactFacts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnreadable, match="file"):
        client.download_artifact(artifact, tmp_path / "file")
