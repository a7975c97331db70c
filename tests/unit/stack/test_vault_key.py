"""The key of the vault in the data folder."""

import base64
import stat
from pathlib import Path

from stoker.stack.keys import load_or_make_keys
from stoker.stack.layout import Layout
from stoker_deployer.vault.keyring import vault_keys


def test_it_is_made_once_private_and_usable(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    load_or_make_keys(layout)
    first = layout.vault_key_file.read_text()
    assert len(base64.b64decode(first)) == 32
    assert stat.S_IMODE(layout.vault_key_file.stat().st_mode) == 0o600
    load_or_make_keys(layout)
    assert layout.vault_key_file.read_text() == first
    assert vault_keys(layout.vault_key_file).newest().key_id
