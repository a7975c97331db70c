"""The keys of the vault: lines of a file, newest first. The first seals, all open."""

from pathlib import Path

from stoker_deployer.vault.errors import VaultClosed, VaultKeyUnknown
from stoker_shared.errors import StokerError
from stoker_shared.rpc.deployer import VaultKey
from stoker_shared.sealing_keys import SealingKeyFile, add_key

__all__ = ["VaultKeys", "add_key"]


class VaultKeys(SealingKeyFile):
    """Read when it is needed and again when the file has changed, so that a rotation needs no restart.

    Raises:
        VaultKeyUnknown, VaultClosed: as its base does.
    """

    def __init__(self, file: Path | None) -> None:
        super().__init__(file, holder="the deployer", setting="STOKER_DEPLOYER_VAULT_KEY_FILE")

    def newest(self) -> VaultKey:
        """What to seal with now.

        Raises:
            VaultClosed: no file, or not a usable one.
        """
        key_id, public_key = self.newest_key()
        return VaultKey(key_id=key_id, public_key=public_key)

    def _unknown(self, key_id: str) -> StokerError:
        return VaultKeyUnknown(key_id)

    def _closed(self, reason: str) -> StokerError:
        return VaultClosed(reason)
