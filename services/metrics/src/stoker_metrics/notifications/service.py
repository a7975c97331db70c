"""The parts of notifications put together, and what runs in the background."""

import asyncio

from stoker_metrics.notifications.boxes import Boxes
from stoker_metrics.notifications.courier import Courier
from stoker_metrics.notifications.deliveries.sending import Sender
from stoker_metrics.notifications.deliveries.service import Deliveries
from stoker_metrics.notifications.reaching import Reach, Resolver, system_resolver
from stoker_metrics.notifications.rules.service import Rules
from stoker_metrics.notifications.settings import NotificationSettings
from stoker_metrics.notifications.subscribers import register
from stoker_metrics.notifications.targets.service import Targets
from stoker_shared.bus import Bus
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import TransientError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)


class Notifications:
    """Targets, rules, deliveries and the sender."""

    def __init__(
        self,
        database: Database,
        settings: NotificationSettings,
        *,
        clock: Clock,
        resolver: Resolver = system_resolver,
    ) -> None:
        self._settings = settings
        self._boxes = Boxes(settings.sealing_key_file)
        reach = Reach(settings.reach_rules(), resolver=resolver)
        courier = Courier(self._boxes, reach, mail=settings.mail_rules())
        self.sender = Sender(database, courier, clock=clock, rules=settings.sender_rules())
        self.targets = Targets(database, self._boxes, courier, clock=clock)
        self.deliveries = Deliveries(database, self.sender, clock=clock)
        self.rules = Rules(
            database,
            clock=clock,
            wake=self.sender.wake,
            late_after=settings.notify_late_after,
            most_alerts=settings.notify_alerts_per_hour,
            api_url=settings.api_public_url,
        )

    def register(self, bus: Bus) -> None:
        """Answer and consume."""
        register(bus, boxes=self._boxes, targets=self.targets, rules=self.rules, deliveries=self.deliveries)

    async def run(self) -> None:
        """Send, and look at the clock, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.sender.run(), name="sender of notifications")
            tasks.create_task(self._look_at_the_clock(), name="notifications by the clock")

    async def _look_at_the_clock(self) -> None:
        while True:
            try:
                await self.rules.by_the_clock()
            except TransientError as error:
                logger.warning("notifications by the clock wait", reason=error.detail)
            except Exception:
                # Nobody awaits this loop: if it ended, nobody would know.
                logger.exception("notifications by the clock failed; they go on")
            await asyncio.sleep(self._settings.notify_clock_every.total_seconds())
