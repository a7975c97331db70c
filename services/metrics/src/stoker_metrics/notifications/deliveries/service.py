"""What an owner sees of deliveries."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from stoker_metrics.notifications.deliveries.repository import DeliveryRepository
from stoker_metrics.notifications.deliveries.schemas import NewDelivery
from stoker_metrics.notifications.deliveries.sending import Sender
from stoker_metrics.notifications.errors import DeliveryUnknown, TargetUnknown
from stoker_metrics.notifications.payloads import TEST, payload
from stoker_metrics.notifications.targets.repository import TargetRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import TooManyRequests
from stoker_shared.rpc.notifications import (
    DeliveriesQuery,
    DeliveryFacts,
    DeliveryList,
    DeliveryQuery,
    TargetQuery,
)

_TESTS_AT_ONCE = 4
"""A test holds one of the places in which this service answers the others for as long as its receiver takes."""


class Deliveries:
    """The log, sending again, and tests."""

    def __init__(self, database: Database, sender: Sender, *, clock: Clock) -> None:
        self._database = database
        self._sender = sender
        self._clock = clock
        self._rows = DeliveryRepository()
        self._targets = TargetRepository()
        self._tests = asyncio.Semaphore(_TESTS_AT_ONCE)

    async def deliveries(self, query: DeliveriesQuery) -> DeliveryList:
        """A page, newest first."""
        async with self._database.transaction() as session:
            rows = await self._rows.page(session, query)
        return DeliveryList(deliveries=[DeliveryFacts.model_validate(row) for row in rows])

    async def redeliver(self, query: DeliveryQuery) -> DeliveryFacts:
        """Send it again, under the same id. One that is being sent just now is left to that.

        Raises:
            DeliveryUnknown: no such delivery of this owner.
        """
        async with self._database.transaction() as session:
            await self._rows.again(session, owner=query.owner, delivery_id=query.delivery_id, now=self._clock.now())
        self._sender.wake()
        return await self._one(query.owner, query.delivery_id)

    async def test_target(self, query: TargetQuery) -> DeliveryFacts:
        """Send a test now, once, also to a target that is paused, and tell what came of it.

        Raises:
            TargetUnknown: no such target of this owner.
            TooManyRequests: other tests are under way.
        """
        if self._tests.locked():
            raise TooManyRequests(f"{_TESTS_AT_ONCE} tests are under way.", retry_after=timedelta(seconds=5))
        async with self._tests:
            return await self._tested(query)

    async def _tested(self, query: TargetQuery) -> DeliveryFacts:
        now = self._clock.now()
        async with self._database.transaction() as session:
            target = await self._targets.one(session, owner=query.owner, target_id=query.target_id)
            if target is None:
                raise TargetUnknown(query.target_id)
            data = {"target_id": target.target_id, "name": target.name, "message": f"{target.name} can be reached."}
            test = NewDelivery(
                owner=query.owner,
                target_id=target.target_id,
                rule_id=None,
                event_id=uuid4(),
                type=TEST,
                job_id=None,
                occurred_at=now,
                payload=payload(TEST, at=now, data=data),
            )
            # Whoever asked sends it; the others only if this process dies before.
            delivery_id = await self._rows.add(session, test, now=now, not_before=now + self._sender.lease)
        if delivery_id is None:
            raise DeliveryUnknown(query.target_id)
        await self._sender.send_one(delivery_id)
        return await self._one(query.owner, delivery_id)

    async def _one(self, owner: str, delivery_id: str) -> DeliveryFacts:
        async with self._database.transaction() as session:
            row = await self._rows.one(session, owner=owner, delivery_id=delivery_id)
        if row is None:
            raise DeliveryUnknown(delivery_id)
        return DeliveryFacts.model_validate(row)
