"""Why a job failed, what would do better, and launching that: with the real planner."""

from typing import Any

import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared.job_state import EndReason
from stoker_shared.recipe import Recipe
from stoker_shared.rpc.diagnosis import Change, Diagnosis, Evidence, Finding
from tests.integration.api.conftest import User
from tests.integration.api.events import a_failure
from tests.integration.api.peers import Peers
from tests.support.bus import stored, until
from tests.unit.api.examples import LLAMA_8B, NOW, a_cpu_offer, a_gpu_offer


def a_diagnosis(job_id: str, *changes: Change, cause: str = "gpu_memory") -> Diagnosis:
    seen = Evidence(source="log", sequence=41, text="CUDA out of memory")
    finding = Finding(
        cause=cause,
        confidence=0.95,
        summary="The GPU's memory was too small for this run.",
        advice="Take a smaller batch.",
        changes=list(changes),
        evidence=[seen],
    )
    return Diagnosis(
        job_id=job_id, attempt=1, job_sequence=2, at=NOW, reason=EndReason.OUT_OF_MEMORY, findings=[finding]
    )


async def a_failed_job(user: User, peers: Peers, *changes: Change, **plan: Any) -> str:
    launched = await user.launch(await user.plan(**plan))
    assert launched.status_code == 201, launched.text
    job_id = str(launched.json()["job_id"])
    peers.diagnosis = a_diagnosis(job_id, *changes)
    await peers.tell(a_failure(job_id, 2))

    async def is_over() -> bool:
        return bool((await user.http.get(f"/v1/jobs/{job_id}")).json()["is_over"])

    await until(is_over, what="the end")
    return job_id


async def proposals(user: User, job_id: str) -> dict[str, Any]:
    response = await user.http.post(f"/v1/jobs/{job_id}/changes")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_the_diagnosis_is_told_with_its_evidence_and_the_job_names_the_cause(user: User, peers: Peers) -> None:
    job_id = await a_failed_job(user, peers)
    told = (await user.http.get(f"/v1/jobs/{job_id}/diagnosis")).json()
    assert told["diagnosis"]["findings"][0]["evidence"] == [
        {"source": "log", "sequence": 41, "text": "CUDA out of memory"}
    ]
    job = (await user.http.get(f"/v1/jobs/{job_id}")).json()
    assert job["diagnosed"]["cause"] == "gpu_memory"


async def test_without_the_metrics_service_the_job_is_told_all_the_same(user: User, peers: Peers) -> None:
    job_id = await a_failed_job(user, peers)
    await peers.stop("metrics")
    job = await user.http.get(f"/v1/jobs/{job_id}")
    assert (job.status_code, job.json()["diagnosed"]) == (200, None)
    assert (await user.http.get(f"/v1/jobs/{job_id}/diagnosis")).status_code == 503


async def test_a_smaller_batch_keeps_the_effective_batch_and_is_planned_and_priced(user: User, peers: Peers) -> None:
    job_id = await a_failed_job(user, peers, "smaller_batch")
    (proposal,) = (await proposals(user, job_id))["proposals"]
    plan = (await user.http.get(f"/v1/plans/{proposal['plan_id']}")).json()
    batch = Recipe.model_validate(plan["frozen"]["recipe"]).batch
    assert (batch.per_device, batch.gradient_accumulation) == (2, 2)
    assert plan["is_launchable"]
    assert plan["offers"][0]["fit"] == "fits"
    assert proposal["plan_hash"] == plan["plan_hash"]
    assert proposal["cost_micro_usd_high"] == plan["forecast"]["cost_micro_usd_high"]
    assert proposal["cost_difference_micro_usd"] == 0


async def test_only_plans_that_fit_are_proposed_and_the_others_say_why_not(user: User, peers: Peers) -> None:
    job_id = await a_failed_job(user, peers, "smaller_batch", "use_lora", "larger_gpu", "higher_budget")
    peers.model = LLAMA_8B.model_copy(update={"name_or_path": "smollm2-135m"})
    peers.offers = [a_cpu_offer(memory_bytes=4 * 10**9)]
    told = await proposals(user, job_id)
    assert told["proposals"] == []
    assert [one["change"] for one in told["unhelpful"]] == ["smaller_batch", "use_lora", "larger_gpu", "higher_budget"]
    assert all(one["why"] for one in told["unhelpful"])


async def test_a_larger_gpu_is_the_cheapest_free_one_with_more_memory(user: User, peers: Peers) -> None:
    small = a_gpu_offer(provider="local")
    peers.offers = [small]
    job_id = await a_failed_job(user, peers, "larger_gpu")
    large = {"gpu_type": "NVIDIA A100", "vram_bytes": 80 * 10**9, "price_micro_usd_per_hour": 1_900_000}
    dear = {"gpu_type": "NVIDIA H100", "vram_bytes": 80 * 10**9, "price_micro_usd_per_hour": 2_900_000}
    taken = {**large, "gpu_type": "NVIDIA L40S", "price_micro_usd_per_hour": 900_000, "is_available": False}
    peers.offers = [small, *(a_gpu_offer(provider="local", **values) for values in (dear, large, taken))]
    told = await proposals(user, job_id)
    assert [one["gpu_type"] for one in told["proposals"]] == ["NVIDIA A100"], told
    assert told["proposals"][0]["cost_difference_micro_usd"] is not None


async def test_a_retry_launches_the_proposal_once(user: User, peers: Peers, clean_bus: RunningNats) -> None:
    job_id = await a_failed_job(user, peers, "lower_learning_rate")
    (proposal,) = (await proposals(user, job_id))["proposals"]
    body = {"plan_id": proposal["plan_id"], "plan_hash": proposal["plan_hash"]}
    first = await user.http.post(f"/v1/jobs/{job_id}/retry", json=body)
    again = await user.http.post(f"/v1/jobs/{job_id}/retry", json=body)
    assert (first.status_code, again.status_code) == (201, 200), first.text
    assert first.json()["job_id"] == again.json()["job_id"] != job_id

    async def both() -> list[Any]:
        told = await stored(clean_bus, "COMMANDS")
        return told if len(told) >= 2 else []

    assert len(await until(both, what="two launches")) == 2


async def test_a_hash_that_is_not_the_proposals_launches_nothing(user: User, peers: Peers) -> None:
    job_id = await a_failed_job(user, peers, "smaller_batch")
    (proposal,) = (await proposals(user, job_id))["proposals"]
    body = {"plan_id": proposal["plan_id"], "plan_hash": "0" * 64}
    refused = await user.http.post(f"/v1/jobs/{job_id}/retry", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "plan_hash_differs")


async def test_a_cause_for_which_no_plan_helps_proposes_none(user: User, peers: Peers) -> None:
    job_id = await a_failed_job(user, peers)
    told = await proposals(user, job_id)
    assert (told["proposals"], told["unhelpful"], told["advice"]) == ([], [], "Take a smaller batch.")


@pytest.mark.parametrize("path", ["changes", "diagnosis"])
async def test_a_job_that_goes_on_has_nothing_to_tell(user: User, peers: Peers, path: str) -> None:
    job_id = await user.job()
    if path == "diagnosis":
        told = (await user.http.get(f"/v1/jobs/{job_id}/diagnosis")).json()
        assert (told["diagnosis"], "queued" in told["detail"]) == (None, True)
        return
    refused = await user.http.post(f"/v1/jobs/{job_id}/changes")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_not_diagnosed")
