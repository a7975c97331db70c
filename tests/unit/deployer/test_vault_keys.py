"""The file of the vault's keys."""

import base64
import stat
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from stoker_deployer.vault.errors import VaultClosed, VaultKeyUnknown
from stoker_deployer.vault.keyring import VaultKeys, add_key


def _line(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


def test_the_first_line_seals_and_all_open(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# made in spring\n{_line(1)}\n\n{_line(2)}\n")
    keys = VaultKeys(file)
    newest = keys.newest()
    assert bytes(keys.private(newest.key_id)) == bytes([1]) * 32
    file.write_text(f"{_line(3)}\n{file.read_text()}")
    assert keys.newest().key_id != newest.key_id
    assert bytes(keys.private(newest.key_id)) == bytes([1]) * 32


def test_a_new_key_comes_first_and_the_file_stays_private(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    first = add_key(file)
    second = add_key(file)
    keys = VaultKeys(file)
    assert keys.newest().key_id == second
    assert isinstance(keys.private(first), PrivateKey)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize("content", ["", "# nothing\n", "AAAA\n", "no base64 at all!\n", "\xff"])
def test_a_file_without_usable_keys_closes_the_vault_and_is_not_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(VaultClosed) as caught:
        VaultKeys(file).newest()
    assert content.strip() == "" or content.strip() not in str(caught.value)
    assert "VAULT_KEY_FILE" in caught.value.next_step


@pytest.mark.parametrize("name", [None, "missing"])
def test_without_a_file_the_vault_is_closed(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(VaultClosed):
        VaultKeys(None if name is None else tmp_path / name).newest()


def test_a_key_that_is_not_in_the_file_is_named_by_its_id(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    add_key(file)
    with pytest.raises(VaultKeyUnknown, match="0123456789abcdef"):
        VaultKeys(file).private("0123456789abcdef")


def test_keys_have_no_useful_repr(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(_line(1))
    keys = VaultKeys(file)
    keys.newest()
    assert _line(1) not in repr(keys)
