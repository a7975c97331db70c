"""Where queued jobs stand, as the deployer says."""

from collections.abc import Sequence

from stoker_api.jobs.schemas import Job, QueuePosition
from stoker_shared.bus import RpcClient
from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.job_state import JobStatus
from stoker_shared.logging import get_logger
from stoker_shared.rpc.deployer import QUEUE, QueuePlace, QueueQuery

logger = get_logger(__name__)


async def with_queue(rpc: RpcClient, owner: str, jobs: Sequence[Job]) -> list[Job]:
    """The jobs, those that are queued with their place. If the deployer is away they stay without."""
    waiting = [job.job_id for job in jobs if job.status == JobStatus.QUEUED]
    if not waiting:
        return list(jobs)
    try:
        told = await rpc.ask(QUEUE, QueueQuery(owner=owner, job_id=waiting[0] if len(waiting) == 1 else None))
    except (ServiceUnavailable, RemoteRefusal) as error:
        logger.warning("queue not known", reason=error.detail)
        return list(jobs)
    places = {place.job_id: _position(place) for place in told.places}
    return [job.model_copy(update={"queue": places.get(job.job_id)}) for job in jobs]


def _position(place: QueuePlace) -> QueuePosition:
    return QueuePosition(position=place.position, ahead=place.ahead, reason=place.reason)
