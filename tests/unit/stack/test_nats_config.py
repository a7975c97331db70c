"""The broker's configuration says what the contract says."""

import json
from pathlib import Path
from typing import Any

import pytest

from stoker.stack.keys import NATS_USERS, nkey_seeds, public_key
from stoker.stack.nats_server import NatsServer
from stoker_shared.permissions import PERMISSIONS, Permission


def rendered(tmp_path: Path, permissions: dict[str, Permission]) -> dict[str, Any]:
    seeds = nkey_seeds(tmp_path, NATS_USERS)
    server = NatsServer(
        tmp_path,
        ports={"nats": 20_001, "nats_monitor": 20_002},
        public_keys={name: public_key(file) for name, file in seeds.items()},
        seed_files=seeds,
        permissions=permissions,
    )
    text = server.render()
    assert not any(file.read_text() in text for file in seeds.values())
    content: dict[str, Any] = json.loads(text)
    return content


def test_every_acknowledged_message_is_on_the_disk_first(tmp_path: Path) -> None:
    assert rendered(tmp_path, PERMISSIONS)["jetstream"]["sync_interval"] == "always"


def test_only_loopback_is_listened_to(tmp_path: Path) -> None:
    config = rendered(tmp_path, PERMISSIONS)
    assert config["host"] == "127.0.0.1"
    assert config["http"].startswith("127.0.0.1:")


@pytest.mark.parametrize("principal", sorted(PERMISSIONS))
def test_each_principal_has_the_rights_of_the_contract_and_no_others(tmp_path: Path, principal: str) -> None:
    config = rendered(tmp_path, PERMISSIONS)
    key = public_key(tmp_path / f"{principal}.nk")
    (user,) = [user for user in config["accounts"]["APP"]["users"] if user["nkey"] == key]
    assert user["permissions"]["publish"]["allow"] == list(PERMISSIONS[principal].publish)
    assert user["permissions"]["subscribe"]["allow"] == list(PERMISSIONS[principal].subscribe)
    assert user["permissions"].get("allow_responses", False) == PERMISSIONS[principal].allow_responses


def test_no_rights_at_all_do_not_become_all_rights(tmp_path: Path) -> None:
    config = rendered(tmp_path, {"api": Permission(publish=(), subscribe=(), allow_responses=False)})
    key = public_key(tmp_path / "api.nk")
    (user,) = [user for user in config["accounts"]["APP"]["users"] if user["nkey"] == key]
    assert user["permissions"] == {"publish": {"deny": ">"}, "subscribe": {"deny": ">"}}


def test_nobody_in_the_system_account_but_the_system_user(tmp_path: Path) -> None:
    config = rendered(tmp_path, PERMISSIONS)
    assert config["system_account"] == "SYS"
    assert config["accounts"]["SYS"]["users"] == [{"nkey": public_key(tmp_path / "system.nk")}]
