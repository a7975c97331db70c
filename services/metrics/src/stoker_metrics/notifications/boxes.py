"""Addresses and signing secrets of targets: opened here, to be used at once."""

from pathlib import Path

from pydantic import SecretStr

from stoker_metrics.notifications.deliveries.schemas import SealedBox
from stoker_metrics.notifications.errors import TargetUnreadable
from stoker_shared.rpc.deployer import VaultKey, VaultKeyQuery
from stoker_shared.rpc.notifications import box_name
from stoker_shared.sealing import SealedBoxUnreadable, open_sealed, seal
from stoker_shared.sealing_keys import SealingKeyFile, SealingKeysClosed, SealingKeyUnknown


class Boxes:
    """The keys of this service, and what they open."""

    def __init__(self, file: Path | None) -> None:
        self._keys = SealingKeyFile(file, holder="the metrics service", setting="STOKER_METRICS_SEALING_KEY_FILE")

    async def key(self, _question: VaultKeyQuery) -> VaultKey:
        """What to seal with.

        Raises:
            SealingKeysClosed: there is no key file.
        """
        key_id, public_key = self._keys.newest_key()
        return VaultKey(key_id=key_id, public_key=public_key)

    def opened(self, box: SealedBox, *, owner: str, target_id: str, what: str) -> SecretStr:
        """What is in a box that just came.

        Raises:
            SealedBoxUnreadable: damaged, or another target's.
            SealingKeyUnknown, SealingKeysClosed: it cannot be opened here.
        """
        private = self._keys.private(box.key_id)
        return open_sealed(box.sealed, owner=owner, name=box_name(target_id, what), private_key=private)

    def kept(self, box: SealedBox, *, owner: str, target_id: str, what: str) -> SecretStr:
        """What is in a box that was stored.

        Raises:
            TargetUnreadable: it cannot be opened (any more).
            SealingKeysClosed: there is no key file now.
        """
        try:
            return self.opened(box, owner=owner, target_id=target_id, what=what)
        except (SealedBoxUnreadable, SealingKeyUnknown) as error:
            raise TargetUnreadable from error

    def resealed(self, box: SealedBox, *, owner: str, target_id: str, what: str, key: VaultKey) -> str:
        """The same under another key."""
        value = self.kept(box, owner=owner, target_id=target_id, what=what)
        return seal(value, owner=owner, name=box_name(target_id, what), public_key=key.public_key)


__all__ = ["Boxes", "SealingKeysClosed"]
