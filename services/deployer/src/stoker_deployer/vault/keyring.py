"""The keys of the vault: lines of a file, newest first. The first seals, all open."""

from pathlib import Path

from stoker_shared.sealing.keys import SealingKeyFile

SETTING = "STOKER_DEPLOYER_VAULT_KEY_FILE"


def vault_keys(file: Path | None) -> SealingKeyFile:
    """The keys of this file; without one the vault is closed."""
    return SealingKeyFile(file, holder="the vault", setting=SETTING)
