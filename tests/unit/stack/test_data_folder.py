"""Keys, ports and files of a data folder: made once, kept, closed to others, and honest when damaged."""

import stat
from pathlib import Path

import pytest

from stoker.stack.errors import DataFolderUnusable, StackNotRunning, StateFileDamaged
from stoker.stack.keys import load_or_make_keys
from stoker.stack.layout import Layout, read_json, write_private
from stoker.stack.port_holding import HeldPorts
from stoker.stack.ports import ALL_PORTS, COMPANION_OFFSET, choose_ports
from stoker.stack.stack_file import ProcessEntry, StackFile, find_stack, read_stack_file


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    made.create()
    return made


def test_keys_stay_the_same_and_are_all_different(layout: Layout) -> None:
    first, second = load_or_make_keys(layout), load_or_make_keys(layout)
    assert first == second
    secrets = [*first.postgres_passwords.values(), first.s3_access_key, first.s3_secret_key, first.training_server_key]
    assert len({secret.get_secret_value() for secret in secrets}) == len(secrets)
    assert len(set(first.nkey_public_keys.values())) == len(first.nkey_public_keys)
    assert first.api_key.get_secret_value().startswith("stk_")
    assert len(first.api_key.get_secret_value()) == len("stk_") + 43


def test_no_key_shows_in_a_repr(layout: Layout) -> None:
    keys = load_or_make_keys(layout)
    assert keys.s3_secret_key.get_secret_value() not in repr(keys)
    assert keys.api_key.get_secret_value() not in repr(keys)


def test_all_files_of_keys_are_closed_to_others(layout: Layout) -> None:
    load_or_make_keys(layout)
    files = [layout.api_key_file, *(path for path in (layout.root / "keys").rglob("*") if path.is_file())]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize("content", ["{half", "[]", '{"s3:access_key": ""}', '{"s3:access_key": 7}'])
def test_damaged_secrets_are_never_replaced(layout: Layout, content: str) -> None:
    layout.secrets_file.write_text(content)
    with pytest.raises(StateFileDamaged, match="back-up"):
        load_or_make_keys(layout)
    assert layout.secrets_file.read_text() == content


def test_a_damaged_seed_or_api_key_is_named(layout: Layout) -> None:
    load_or_make_keys(layout)
    (layout.nkeys / "api.nk").write_text("not a seed")
    with pytest.raises(StateFileDamaged, match=r"api\.nk"):
        load_or_make_keys(layout)


def test_an_open_folder_is_closed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    layout = Layout(tmp_path / "data")
    layout.create()
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o700


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataFolderUnusable, match="--data DIR"):
        Layout(tmp_path / "data").create()


def test_ports_are_remembered_distinct_and_below_the_outgoing_range(layout: Layout) -> None:
    with HeldPorts() as held:
        first = choose_ports(layout.ports_file, ALL_PORTS, held=held)
    with HeldPorts() as held:
        assert choose_ports(layout.ports_file, ALL_PORTS, held=held) == first
    assert len(set(first.ports.values())) == len(ALL_PORTS)
    assert all(1024 <= port < 32_768 for port in first.ports.values())
    assert first.ports["object_store_admin"] + COMPANION_OFFSET < 32_768


@pytest.mark.parametrize("content", ["{half", "[]", '{"api": "many", "nats": -1}'])
def test_a_damaged_ports_file_costs_nothing_but_the_numbers(layout: Layout, content: str) -> None:
    layout.ports_file.write_text(content)
    with HeldPorts() as held:
        chosen = choose_ports(layout.ports_file, ALL_PORTS, held=held)
    assert set(chosen.ports) == set(ALL_PORTS)
    assert read_json(layout.ports_file) is not None


def test_a_stack_file_reads_back(layout: Layout) -> None:
    written = StackFile(7, {"api": "http://127.0.0.1:1"}, (ProcessEntry("api", 8, 1),), layout.api_key_file)
    written.write(layout.stack_file)
    assert read_stack_file(layout.stack_file) == written


@pytest.mark.parametrize("content", ["{half", "[]", "{}", '{"pid": 1, "urls": [], "processes": {}}'])
def test_a_damaged_stack_file_is_told(layout: Layout, content: str) -> None:
    layout.stack_file.write_text(content)
    with pytest.raises(StateFileDamaged, match=r"stack\.json"):
        find_stack(layout.root)


def test_a_stack_file_without_a_supervisor_is_no_stack(layout: Layout) -> None:
    StackFile(7, {}, (), layout.api_key_file).write(layout.stack_file)
    with pytest.raises(StackNotRunning, match="stoker up"):
        find_stack(layout.root)


def test_a_failed_write_leaves_the_old_text(layout: Layout) -> None:
    write_private(layout.stack_file, "old")
    with pytest.raises(TypeError):
        write_private(layout.stack_file, 7)  # type: ignore[arg-type]
    assert layout.stack_file.read_text() == "old"
    assert list(layout.root.glob(".stack*")) == []


def test_an_asked_port_that_is_out_of_use_is_taken(layout: Layout) -> None:
    with HeldPorts() as held:
        free = choose_ports(layout.ports_file, ("nats",), held=held).ports["nats"]
    with HeldPorts() as held:
        chosen = choose_ports(layout.ports_file, ("api",), held=held, asked={"api": free})
    assert chosen.ports["api"] == free
