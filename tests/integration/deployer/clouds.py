"""A provider `cloud` at which each key opens an account, and ways to set keys as the api does."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from stoker_deployer.providers import Provider
from stoker_deployer.providers.accounts import ProviderFactory
from stoker_shared.clock import SystemClock
from stoker_shared.commands import PlannedOffer
from stoker_shared.money import ONE_USD
from stoker_shared.rpc.deployer import (
    REMOVE_SECRET,
    SECRETS,
    SET_SECRET,
    VAULT_KEY,
    RemoveSecret,
    SecretFacts,
    SecretList,
    SecretsQuery,
    SetSecret,
    VaultKeyQuery,
)
from stoker_shared.sealing import seal
from stoker_shared.sealing.keys import add_key
from tests.integration.deployer.world import World
from tests.simulators.hostile.cloud import Cloud
from tests.simulators.hostile.provider import HostileProvider

CLOUD = "cloud"
ANNA, BERTA = "user-00000000000000aa", "user-00000000000000bb"


@dataclass
class Clouds:
    """Accounts at `cloud`, by their first key."""

    accounts: dict[str, Cloud] = field(default_factory=dict)
    is_away: bool = False
    """Whoever asks about a key that opens nothing yet gets no answer."""
    _opened: dict[str, Cloud] = field(default_factory=dict)

    def open(self, key: str, *, account_id: str = "") -> Cloud:
        """A new account with this key."""
        made = Cloud(SystemClock(), key=key, account_id=account_id)
        self.accounts[key] = made
        return made

    def factories(self) -> dict[str, ProviderFactory]:
        """What a deployer is started with."""
        return {CLOUD: self._provider}

    def _provider(self, secret: SecretStr) -> Provider:
        key = secret.get_secret_value()
        for cloud in self.accounts.values():
            if key in {cloud.key, *cloud.further_keys}:
                self._opened[key] = cloud
        # A key that was taken back at the provider still leads to its account, which refuses it.
        cloud = self._opened.get(key) or Cloud(SystemClock(), is_away=self.is_away)
        # Shorter than the lease of these tests by half.
        return HostileProvider(cloud, name=CLOUD, key=key, launch_timeout=timedelta(seconds=1))


def cloud_world(world: World, clouds: Clouds, folder: Path) -> dict[str, str]:
    """Give a world the provider; returns the settings of its deployers."""
    world.factories = clouds.factories()
    file = folder / "vault.keys"
    add_key(file)
    return {"VAULT_KEY_FILE": str(file), "HUB_URL": "http://127.0.0.1:9", "WANDB_URL": "http://127.0.0.1:9"}


async def set_key(world: World, owner: str, value: str, *, name: str = CLOUD) -> SecretFacts:
    """As the api does it."""
    key = await world.peers.ask(VAULT_KEY, VaultKeyQuery())
    sealed = seal(SecretStr(value), owner=owner, name=name, public_key=key.public_key)
    asked = SetSecret(owner=owner, name=name, sealed=sealed, key_id=key.key_id)
    stored: SecretFacts = await world.peers.ask(SET_SECRET, asked)
    return stored


async def remove_key(world: World, owner: str, *, name: str = CLOUD) -> SecretList:
    """As the api does it."""
    left: SecretList = await world.peers.ask(REMOVE_SECRET, RemoveSecret(owner=owner, name=name))
    return left


async def listed(world: World, owner: str) -> SecretList:
    """As the api does it."""
    found: SecretList = await world.peers.ask(SECRETS, SecretsQuery(owner=owner))
    return found


def cloud_offer() -> PlannedOffer:
    """What jobs of these tests run on."""
    return PlannedOffer(provider=CLOUD, gpu_type="cpu", gpu_count=0, price_micro_usd_per_hour=ONE_USD)
