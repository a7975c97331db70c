"""The file of keys for sealed boxes."""

import base64
import stat
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from stoker_shared.errors import ConfigurationInvalid
from stoker_shared.sealing import SealingKeysClosed, SealingKeyUnknown
from stoker_shared.sealing.keys import SealingKeyFile, add_configured_key, add_key

SETTING = "STOKER_X_KEY_FILE"


def _keys(file: Path | None) -> SealingKeyFile:
    return SealingKeyFile(file, holder="the service", setting=SETTING)


def _line(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


def test_the_first_line_seals_and_all_open(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# made in spring\n{_line(1)}\n\n{_line(2)}\n")
    keys = _keys(file)
    newest = keys.newest()
    assert bytes(keys.private(newest.key_id)) == bytes([1]) * 32
    file.write_text(f"{_line(3)}\n{file.read_text()}")
    assert keys.newest().key_id != newest.key_id
    assert bytes(keys.private(newest.key_id)) == bytes([1]) * 32


def test_a_new_key_comes_first_and_the_file_stays_private(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    first = add_key(file)
    second = add_key(file)
    keys = _keys(file)
    assert keys.newest().key_id == second
    assert isinstance(keys.private(first), PrivateKey)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize("content", ["", "# nothing\n", "AAAA\n", "no base64 at all!\n", "\xff"])
def test_a_file_without_usable_keys_closes_it_and_is_not_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(SealingKeysClosed) as caught:
        _keys(file).newest()
    assert content.strip() == "" or content.strip() not in str(caught.value)
    assert SETTING in caught.value.next_step


@pytest.mark.parametrize("name", [None, "missing"])
def test_without_a_file_it_is_closed(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(SealingKeysClosed):
        _keys(None if name is None else tmp_path / name).newest()


def test_a_key_that_is_not_in_the_file_is_named_by_its_id(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    add_key(file)
    with pytest.raises(SealingKeyUnknown, match="0123456789abcdef"):
        _keys(file).private("0123456789abcdef")


def test_keys_have_no_useful_repr(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(_line(1))
    keys = _keys(file)
    keys.newest()
    assert _line(1) not in repr(keys)


@pytest.mark.parametrize("name", [None, "no folder/keys"])
def test_a_key_that_cannot_be_kept_names_the_setting(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        add_configured_key(None if name is None else tmp_path / name, setting=SETTING)
    assert SETTING in caught.value.next_step
