"""The vault over the bus: set, list, remove, rotate; what is refused, and what is kept for whom."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from stoker_deployer.main import Deployer
from stoker_deployer.settings import DeployerSettings
from stoker_deployer.vault.rotating import add_vault_key, reseal_secrets
from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.rpc.deployer import SET_SECRET, VAULT_KEY, SetSecret, VaultKeyQuery
from stoker_shared.sealing import seal
from tests.integration.deployer.clouds import ANNA, BERTA, CLOUD, Clouds, cloud_world, listed, remove_key, set_key
from tests.integration.deployer.world import World

KEY = "rpa_ANNAS0KEY0OF0THE0CLOUD"
OTHER_KEY = "rpa_ANNAS0SECOND0KEY0HERE"


@pytest.fixture
def clouds() -> Clouds:
    """One account."""
    made = Clouds()
    made.open(KEY, account_id="anna-at-cloud")
    return made


async def _started(world: World, clouds: Clouds, folder: Path) -> Deployer:
    return await world.start_deployer(**cloud_world(world, clouds, folder))


async def test_a_key_is_checked_kept_sealed_and_told_by_its_end_alone(
    world: World, clouds: Clouds, tmp_path: Path
) -> None:
    await _started(world, clouds, tmp_path)
    stored = await set_key(world, ANNA, KEY)
    assert (stored.state, stored.hint, stored.version) == ("valid", "LOUD", 1)
    assert stored.checked_at is not None
    found = await listed(world, ANNA)
    assert [(secret.name, secret.hint) for secret in found.secrets] == [(CLOUD, "LOUD")]
    assert found.settable == [CLOUD, "huggingface", "wandb"]
    assert (await listed(world, BERTA)).secrets == []
    (row,) = await world.query("SELECT * FROM secrets")
    assert KEY not in str(row)
    assert row["account_id"] == "anna-at-cloud"


async def test_a_key_that_is_refused_is_not_stored(world: World, clouds: Clouds, tmp_path: Path) -> None:
    await _started(world, clouds, tmp_path)
    await set_key(world, ANNA, KEY)
    with pytest.raises(RemoteRefusal) as caught:
        await set_key(world, ANNA, "a-key-of-nobody-at-all")
    assert caught.value.remote_code == "secret_refused"
    assert "nobody" not in str(caught.value)
    assert [(secret.version, secret.state) for secret in (await listed(world, ANNA)).secrets] == [(1, "valid")]


async def test_a_key_that_nobody_can_check_now_is_stored_as_unchecked(
    world: World, clouds: Clouds, tmp_path: Path
) -> None:
    await _started(world, clouds, tmp_path)
    clouds.is_away = True
    assert (await set_key(world, ANNA, "a-key-for-better-days")).state == "unchecked"
    hub = await set_key(world, ANNA, "hf_a_token_of_the_hub", name="huggingface")
    assert (hub.state, hub.checked_at) == ("unchecked", None)


@pytest.mark.parametrize(
    "value", ["short", "with a space in the middle", "with\na line end", "x" * 4097, "schlüssel-mit-ü"]
)
async def test_what_cannot_be_a_key_is_refused_without_being_repeated(
    world: World, clouds: Clouds, tmp_path: Path, value: str
) -> None:
    await _started(world, clouds, tmp_path)
    with pytest.raises(RemoteRefusal) as caught:
        await set_key(world, ANNA, value)
    assert caught.value.remote_code == "secret_malformed"
    assert value not in str(caught.value)


async def test_a_name_that_nothing_uses_is_refused_with_those_that_are(
    world: World, clouds: Clouds, tmp_path: Path
) -> None:
    await _started(world, clouds, tmp_path)
    with pytest.raises(RemoteRefusal, match="cloud, huggingface, wandb") as caught:
        await set_key(world, ANNA, KEY, name="nowhere")
    assert caught.value.remote_code == "secret_name_unknown"


async def test_a_box_of_somebody_else_or_for_something_else_is_refused(
    world: World, clouds: Clouds, tmp_path: Path
) -> None:
    await _started(world, clouds, tmp_path)
    key = await world.peers.ask(VAULT_KEY, VaultKeyQuery())
    for owner, name in ((BERTA, CLOUD), (ANNA, "wandb")):
        sealed = seal(SecretStr(KEY), owner=owner, name=name, public_key=key.public_key)
        with pytest.raises(RemoteRefusal) as caught:
            await world.peers.ask(SET_SECRET, SetSecret(owner=ANNA, name=CLOUD, sealed=sealed, key_id=key.key_id))
        assert caught.value.remote_code == "sealed_box_unreadable"
    unknown = SetSecret(owner=ANNA, name=CLOUD, sealed=sealed, key_id="0" * 16)
    with pytest.raises(RemoteRefusal) as caught:
        await world.peers.ask(SET_SECRET, unknown)
    assert (caught.value.remote_code, caught.value.remote_status) == ("vault_key_unknown", 409)
    assert await world.query("SELECT * FROM secrets") == []


async def test_without_a_key_file_nothing_can_be_set_and_the_rest_works(world: World) -> None:
    await world.start_deployer()
    with pytest.raises(ServiceUnavailable, match="key file"):
        await world.peers.ask(VAULT_KEY, VaultKeyQuery())
    assert (await listed(world, ANNA)).secrets == []


async def test_a_replaced_key_that_no_machine_needs_is_wiped_at_once(
    world: World, clouds: Clouds, tmp_path: Path
) -> None:
    await _started(world, clouds, tmp_path)
    clouds.accounts[KEY].further_keys.add(OTHER_KEY)
    await set_key(world, ANNA, KEY)
    assert (await set_key(world, ANNA, OTHER_KEY)).version == 2
    rows = await world.query("SELECT version, sealed IS NULL AS wiped, hint, retired_at FROM secrets ORDER BY version")
    assert [(row["version"], row["wiped"], row["hint"]) for row in rows] == [(1, True, ""), (2, False, "HERE")]
    assert (await remove_key(world, ANNA)).secrets == []
    assert await world.query("SELECT * FROM secrets WHERE sealed IS NOT NULL") == []
    with pytest.raises(RemoteRefusal) as caught:
        await remove_key(world, ANNA)
    assert caught.value.remote_status == 404


async def test_replicas_that_take_keys_at_the_same_time_keep_one(world: World, clouds: Clouds, tmp_path: Path) -> None:
    settings = cloud_world(world, clouds, tmp_path)
    for _ in range(2):
        await world.start_deployer(**settings)
    await asyncio.gather(*(set_key(world, ANNA, KEY) for _ in range(8)))
    found = (await listed(world, ANNA)).secrets
    assert [(secret.state, secret.version) for secret in found] == [("valid", 8)]


async def test_after_a_rotation_all_secrets_open_with_the_new_key_alone(
    world: World, clouds: Clouds, tmp_path: Path
) -> None:
    deployer = await _started(world, clouds, tmp_path)
    settings: DeployerSettings = deployer.settings
    await set_key(world, ANNA, KEY)
    before = (await world.query("SELECT key_id, sealed FROM secrets"))[0]
    newest = add_vault_key(settings)
    # The deployer that runs has read the file anew.
    assert (await world.peers.ask(VAULT_KEY, VaultKeyQuery())).key_id == newest
    assert await reseal_secrets(settings) == 1
    assert await reseal_secrets(settings) == 0
    (after,) = await world.query("SELECT key_id, sealed FROM secrets")
    assert (after["key_id"], before["key_id"] == newest) == (newest, False)
    assert after["sealed"] != before["sealed"]
    file = settings.vault_key_file
    assert file is not None
    file.write_text(file.read_text().splitlines()[0] + "\n")
    held = await deployer.vault.key(ANNA, CLOUD)
    assert held is not None
    assert held.secret.get_secret_value() == KEY


async def test_secrets_of_a_lost_key_file_are_not_there_and_can_be_set_again(
    world: World, clouds: Clouds, tmp_path: Path
) -> None:
    deployer = await _started(world, clouds, tmp_path)
    await set_key(world, ANNA, KEY)
    file = deployer.settings.vault_key_file
    assert file is not None
    file.unlink()
    add_vault_key(deployer.settings)
    assert await deployer.vault.key(ANNA, CLOUD) is None
    assert await deployer.vault.all_keys([CLOUD]) == []
    await set_key(world, ANNA, KEY)
    assert await deployer.vault.key(ANNA, CLOUD) is not None


async def test_a_rotation_passes_over_what_does_not_open(world: World, clouds: Clouds, tmp_path: Path) -> None:
    deployer = await _started(world, clouds, tmp_path)
    settings: DeployerSettings = deployer.settings
    await set_key(world, ANNA, KEY)
    (lost,) = await world.query("SELECT key_id, sealed FROM secrets")
    file = settings.vault_key_file
    assert file is not None
    file.unlink()
    add_vault_key(settings)
    await set_key(world, BERTA, KEY)
    newest = add_vault_key(settings)
    assert await reseal_secrets(settings) == 1
    rows = await world.query("SELECT owner, key_id, sealed FROM secrets")
    by_owner = {row["owner"]: row for row in rows}
    assert (by_owner[ANNA]["key_id"], by_owner[ANNA]["sealed"]) == (lost["key_id"], lost["sealed"])
    assert by_owner[BERTA]["key_id"] == newest
