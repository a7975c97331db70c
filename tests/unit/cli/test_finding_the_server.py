"""Where the client finds server and key."""

import json
from pathlib import Path

import pytest

from stoker.client.errors import NoApiKey, NoServerKnown
from stoker.client.server import data_folder, find_server, is_loopback


def local_stack(folder: Path, *, key: str | None = "stk_local") -> Path:
    key_file = folder / "api-key"
    content = {"version": 1, "pid": 1, "urls": {"api": "http://127.0.0.1:20001"}, "api_key_file": str(key_file)}
    (folder / "stack.json").write_text(json.dumps(content))
    if key is not None:
        key_file.write_text(f"{key}\n")
    return folder


def test_arguments_win_over_environment_and_local_stack(tmp_path: Path) -> None:
    around = {"STOKER_URL": "http://other", "STOKER_API_KEY": "stk_other"}
    server = find_server("http://mine/", "stk_mine", data_dir=local_stack(tmp_path), environment=around)
    assert (server.url, server.api_key.get_secret_value()) == ("http://mine", "stk_mine")


def test_the_environment_wins_over_the_local_stack(tmp_path: Path) -> None:
    around = {"STOKER_URL": "http://other", "STOKER_API_KEY": "stk_other"}
    assert find_server(data_dir=local_stack(tmp_path), environment=around).url == "http://other"


def test_the_local_stack_is_found_with_its_key(tmp_path: Path) -> None:
    server = find_server(environment={"STOKER_DATA": str(local_stack(tmp_path))})
    assert (server.url, server.api_key.get_secret_value()) == ("http://127.0.0.1:20001", "stk_local")


def test_the_key_of_the_local_stack_is_not_sent_to_another_server(tmp_path: Path) -> None:
    with pytest.raises(NoApiKey, match="http://elsewhere"):
        find_server("http://elsewhere", data_dir=local_stack(tmp_path), environment={})


def test_no_server_names_the_folder_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NoServerKnown) as caught:
        find_server(data_dir=tmp_path, environment={})
    assert str(tmp_path) in caught.value.detail
    assert "stoker up" in caught.value.next_step


@pytest.mark.parametrize("content", ["", "{", "[]", '{"urls": {}}', '{"urls": null}'])
def test_a_half_written_stack_file_is_no_server(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    with pytest.raises(NoServerKnown):
        find_server(data_dir=tmp_path, environment={})


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoApiKey, match="api-key"):
        find_server(data_dir=local_stack(tmp_path, key=None), environment={})


def test_the_key_is_not_in_the_text_of_a_server(tmp_path: Path) -> None:
    assert "stk_local" not in repr(find_server(data_dir=local_stack(tmp_path), environment={}))


def test_the_data_folder_of_the_stack_is_looked_in(tmp_path: Path) -> None:
    assert data_folder(environment={"STOKER_STACK_DATA_DIR": str(tmp_path)}) == tmp_path
    assert data_folder(environment={}) == Path("~/.stoker").expanduser()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost"])
def test_this_machine_is_known_by_its_address(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["http://localhost.example.com", "https://stoker.example.com", "http://10.0.0.1"])
def test_other_machines_are_not_taken_for_this_one(url: str) -> None:
    assert not is_loopback(url)
