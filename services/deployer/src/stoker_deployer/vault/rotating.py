"""Rotation of the vault's keys: a new one before the others, then all boxes sealed with it."""

from stoker_deployer.settings import DeployerSettings
from stoker_deployer.vault.keyring import SETTING, vault_keys
from stoker_deployer.vault.repository import SecretRepository
from stoker_deployer.vault.service import tell_unreadable
from stoker_shared.sealing.keys import add_configured_key
from stoker_shared.sealing.rotation import reseal_all


def add_vault_key(settings: DeployerSettings) -> str:
    """Make a key. Deployers on other machines need the changed file before secrets are set or resealed.

    Raises:
        ConfigurationInvalid: there is no key file to write to.
    """
    return add_configured_key(settings.vault_key_file, setting=SETTING)


async def reseal_secrets(settings: DeployerSettings) -> int:
    """Seal every box anew that an older key sealed, but those that do not open. Returns how many.

    Raises:
        ServiceUnavailable: PostgreSQL or the key file is away.
    """
    keys = vault_keys(settings.vault_key_file)
    return await reseal_all(settings.database_url, SecretRepository(), keys, unreadable=tell_unreadable)
