"""The client's calls about failed jobs: why, what to change, try again."""

from pydantic import Field

from stoker.client.calls import Calls, segment
from stoker.client.models import Answer, Job
from stoker_shared.rpc.diagnosis import Diagnosis


class JobDiagnosis(Answer):
    """Why the newest end came. `diagnosis` None: there is none (yet); `detail` says why."""

    diagnosis: Diagnosis | None = None
    detail: str = ""


class Proposal(Answer):
    """A plan that differs in one thing, was found to fit, and is priced."""

    number: int
    change: str
    summary: str
    plan_id: str
    plan_hash: str
    provider: str
    gpu_type: str
    gpu_count: int
    cost_micro_usd_low: int
    cost_micro_usd_high: int
    cost_difference_micro_usd: int | None = None
    budget_micro_usd: int


class Unhelpful(Answer):
    """A change that does not help, and why."""

    change: str
    why: str


class Proposals(Answer):
    """What to change; no proposal: no other plan helps."""

    job_id: str
    cause: str
    summary: str
    advice: str
    proposals: list[Proposal]
    unhelpful: list[Unhelpful] = Field(default_factory=list)


class DiagnosisCalls(Calls):
    """A part of `stoker.client.Client`."""

    def why(self, job_id: str, *, attempt: int | None = None) -> JobDiagnosis:
        """Why a job, or one attempt of it, failed."""
        params = None if attempt is None else {"attempt": attempt}
        return self._get(JobDiagnosis, f"/v1/jobs/{segment(job_id)}/diagnosis", params=params)

    def proposals(self, job_id: str) -> Proposals:
        """Plans that would do better, each found to fit, and priced.

        Raises:
            Conflicting: no end of the job was diagnosed (yet).
        """
        return self._post(Proposals, f"/v1/jobs/{segment(job_id)}/changes", None)

    def retry(self, job_id: str, proposal: Proposal, *, priority: int = 0) -> Job:
        """Launch a proposal under its hash. The same one again is the same job."""
        wanted = {"plan_id": proposal.plan_id, "plan_hash": proposal.plan_hash, "priority": priority}
        return self._post(Job, f"/v1/jobs/{segment(job_id)}/retry", wanted)
