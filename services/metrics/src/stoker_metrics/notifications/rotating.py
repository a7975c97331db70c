"""Another key for addresses and secrets of targets: add one, then seal all of them with it."""

from typing import Any, NoReturn

from stoker_metrics.notifications.boxes import SETTING, sealing_keys
from stoker_metrics.notifications.errors import TargetUnreadable
from stoker_metrics.notifications.targets.repository import TargetRepository
from stoker_metrics.settings import MetricsSettings
from stoker_shared.errors import StokerError
from stoker_shared.sealing.keys import add_configured_key
from stoker_shared.sealing.rotation import reseal_all


def add_sealing_key(settings: MetricsSettings) -> str:
    """Put a new key before the others. Returns its id.

    Raises:
        ConfigurationInvalid: there is no key file to write to.
    """
    return add_configured_key(settings.sealing_key_file, setting=SETTING)


async def reseal_targets(settings: MetricsSettings) -> int:
    """Seal all boxes of older keys with the newest. Returns how many targets were.

    Raises:
        ServiceUnavailable: PostgreSQL or the key file is away.
        TargetUnreadable: a box does not open; those before it are sealed anew.
    """
    keys = sealing_keys(settings.sealing_key_file)
    return await reseal_all(settings.database_url, TargetRepository(), keys, unreadable=_end)


def _end(_row: Any, error: StokerError) -> NoReturn:
    raise TargetUnreadable from error
