"""Rotation of the vault's keys: a new one before the others, then all boxes sealed with it."""

from stoker_deployer.settings import DeployerSettings
from stoker_deployer.vault.keyring import VaultKeys, add_key
from stoker_deployer.vault.service import Vault
from stoker_shared.clock import SystemClock
from stoker_shared.database import Database
from stoker_shared.errors import ConfigurationInvalid


def add_vault_key(settings: DeployerSettings) -> str:
    """Make a key. Deployers on other machines need the changed file before secrets are set or resealed.

    Raises:
        ConfigurationInvalid: there is no key file to write to.
    """
    if settings.vault_key_file is None:
        raise ConfigurationInvalid(
            "There is no file for the keys of the vault.", next_step="Set STOKER_DEPLOYER_VAULT_KEY_FILE."
        )
    try:
        return add_key(settings.vault_key_file)
    except OSError as error:
        raise ConfigurationInvalid(
            f"{settings.vault_key_file} cannot be written: {error.strerror}.",
            next_step="Set STOKER_DEPLOYER_VAULT_KEY_FILE to a file of the deployer's own.",
        ) from error


async def reseal_secrets(settings: DeployerSettings) -> int:
    """Seal every box anew that an older key sealed. Returns how many.

    Raises:
        ServiceUnavailable: PostgreSQL or the key file is away.
    """
    database = Database(settings.database_url, pool_size=1)
    try:
        return await Vault(database, VaultKeys(settings.vault_key_file), checks={}, clock=SystemClock()).reseal()
    finally:
        await database.close()
