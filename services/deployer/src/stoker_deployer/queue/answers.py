"""What the deployer answers about the queue."""

from stoker_deployer.queue.line import Place
from stoker_deployer.queue.slots import Slots
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.rpc.deployer import QueuePlace, QueuePlaces, QueueQuery


class QueueAnswers:
    """Reads the line; changes nothing."""

    def __init__(self, database: Database, slots: Slots, *, clock: Clock) -> None:
        self._database = database
        self._slots = slots
        self._clock = clock

    async def queue(self, query: QueueQuery) -> QueuePlaces:
        """Where an owner's jobs stand in the line of everybody; nothing of other owners' jobs is told."""
        async with self._database.transaction() as session:
            line = await self._slots.places(session, now=self._clock.now())
        return QueuePlaces(
            waiting=len(line),
            places=[
                _told(place)
                for place in line
                if place.waiting.owner == query.owner and query.job_id in (None, place.waiting.job_id)
            ],
        )


def _told(place: Place) -> QueuePlace:
    return QueuePlace(
        job_id=place.waiting.job_id,
        position=place.position,
        ahead=place.ahead,
        reason=place.obstacle or "begins now",
    )
