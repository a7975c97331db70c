"""Another key for addresses and secrets of targets: add one, then seal all of them with it."""

from stoker_metrics.notifications.service import Notifications
from stoker_metrics.settings import MetricsSettings
from stoker_shared.clock import SystemClock
from stoker_shared.database import Database
from stoker_shared.errors import ConfigurationInvalid
from stoker_shared.sealing_keys import add_key


def add_sealing_key(settings: MetricsSettings) -> str:
    """Put a new key before the others. Returns its id.

    Raises:
        ConfigurationInvalid: there is no key file to write to.
    """
    if settings.sealing_key_file is None:
        raise ConfigurationInvalid("No key file is set.", next_step="Set STOKER_METRICS_SEALING_KEY_FILE.")
    try:
        return add_key(settings.sealing_key_file)
    except OSError as error:
        raise ConfigurationInvalid(
            f"{settings.sealing_key_file} cannot be written: {error.strerror}.",
            next_step="Set STOKER_METRICS_SEALING_KEY_FILE to a file of the metrics service's own.",
        ) from error


async def reseal_targets(settings: MetricsSettings) -> int:
    """Seal all boxes of older keys with the newest. Returns how many targets were.

    Raises:
        ServiceUnavailable: PostgreSQL or the key file is away.
    """
    database = Database(settings.database_url, pool_size=1)
    try:
        return await Notifications(database, settings, clock=SystemClock()).targets.reseal()
    finally:
        await database.close()
