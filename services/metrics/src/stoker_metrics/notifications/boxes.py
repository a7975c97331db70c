"""Addresses and signing secrets of targets: opened here, to be used at once."""

from pathlib import Path

from pydantic import SecretStr

from stoker_metrics.notifications.deliveries.schemas import SealedBox
from stoker_metrics.notifications.errors import TargetUnreadable
from stoker_shared.rpc.deployer import VaultKey, VaultKeyQuery
from stoker_shared.rpc.notifications import box_name
from stoker_shared.sealing import SealedBoxUnreadable, SealingKeyUnknown, StoredBox
from stoker_shared.sealing.keys import SealingKeyFile

SETTING = "STOKER_METRICS_SEALING_KEY_FILE"


def sealing_keys(file: Path | None) -> SealingKeyFile:
    """The keys of this file."""
    return SealingKeyFile(file, holder="the metrics service", setting=SETTING)


class Boxes:
    """The keys of this service, and what they open."""

    def __init__(self, file: Path | None) -> None:
        self._keys = sealing_keys(file)

    async def key(self, _question: VaultKeyQuery) -> VaultKey:
        """What to seal with.

        Raises:
            SealingKeysClosed: there is no key file.
        """
        return self._keys.newest()

    def opened(self, box: SealedBox, *, owner: str, target_id: str, what: str) -> SecretStr:
        """What is in a box that just came.

        Raises:
            SealedBoxUnreadable: damaged, or another target's.
            SealingKeyUnknown, SealingKeysClosed: it cannot be opened here.
        """
        return self._keys.opened(StoredBox(owner, box_name(target_id, what), box.key_id, box.sealed))

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
