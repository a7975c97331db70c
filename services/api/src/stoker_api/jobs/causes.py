"""Why a job failed, in one line, as the metrics service says."""

from stoker_api.jobs.schemas import JobCause
from stoker_shared.bus import RpcClient
from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.logging import get_logger
from stoker_shared.rpc.diagnosis import DIAGNOSIS, DiagnosisQuery

logger = get_logger(__name__)


async def cause_of(rpc: RpcClient, owner: str, job_id: str) -> JobCause | None:
    """The verdict on the newest end. None: there is none yet, or the metrics service is away."""
    try:
        found = (await rpc.ask(DIAGNOSIS, DiagnosisQuery(owner=owner, job_id=job_id))).diagnosis
    except (ServiceUnavailable, RemoteRefusal) as error:
        logger.warning("diagnosis not known", reason=error.detail)
        return None
    if found is None:
        return None
    verdict = found.verdict
    return JobCause(cause=verdict.cause, summary=verdict.summary, confidence=verdict.confidence)
