"""What `stoker why` and `stoker retry` say."""

from datetime import UTC, datetime
from typing import Any

import pytest

from stoker.client.diagnosing import Proposal, Proposals, Unhelpful
from stoker.commands.diagnosing import chosen_proposal, diagnosis_lines, proposal_lines
from stoker_shared.errors import RequestInvalid
from stoker_shared.job_state import EndReason
from stoker_shared.rpc.diagnosis import UNKNOWN, Diagnosis, Evidence, Finding

JOB = "job-00000000000000aa"


def a_finding(**changes: Any) -> Finding:
    seen = Evidence(source="log", sequence=41, text="CUDA out of [memory]")
    values = {
        "cause": "gpu_memory",
        "confidence": 0.95,
        "summary": "Too small.",
        "advice": "Larger.",
        "evidence": [seen],
    }
    return Finding.model_validate(values | {"evidence": [seen]} | changes)


def a_diagnosis(*findings: Finding, **changes: Any) -> Diagnosis:
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    values = {"job_id": JOB, "attempt": 1, "job_sequence": 7, "at": moment, "reason": EndReason.OUT_OF_MEMORY}
    return Diagnosis.model_validate(values | {"findings": list(findings)} | changes)


def a_proposal(number: int, **changes: Any) -> Proposal:
    values: dict[str, Any] = {
        "number": number,
        "change": "smaller_batch",
        "summary": f"change {number}",
        "plan_id": "plan-00000000000000aa",
        "plan_hash": "0" * 64,
        "provider": "local",
        "gpu_type": "cpu",
        "gpu_count": 0,
        "cost_micro_usd_low": 10_000,
        "cost_micro_usd_high": 20_000,
        "cost_difference_micro_usd": -5_000,
        "budget_micro_usd": 1_000_000,
    }
    return Proposal.model_validate(values | changes)


def known(*proposals: Proposal, **changes: Any) -> Proposals:
    values = {"job_id": JOB, "cause": "gpu_memory", "summary": "Too small.", "advice": "Larger."}
    return Proposals.model_validate(values | {"proposals": list(proposals)} | changes)


def test_the_verdict_comes_first_with_the_line_of_the_log_where_it_stands() -> None:
    said = diagnosis_lines(a_diagnosis(a_finding(), a_finding(cause="device_communication", summary="Lost touch.")))
    assert said[0] == "[bold]Too small.[/] (95% sure)"
    assert said[1].startswith("  log 41: CUDA out of \\[memory]")
    assert said[2:] == ["Also seen: Lost touch.", "Next: Larger."]


def test_the_unknown_shows_the_last_errors_and_claims_no_confidence() -> None:
    unknown = a_finding(cause=UNKNOWN, confidence=0, summary="Not known.", evidence=[])
    said = diagnosis_lines(a_diagnosis(unknown, last_errors=[Evidence(source="exit", text="OddError")]))
    assert said[:2] == ["[bold]Not known.[/]", "  exit: OddError"]


def test_proposals_have_numbers_costs_and_the_difference() -> None:
    said = proposal_lines(known(a_proposal(1), a_proposal(2, cost_difference_micro_usd=5_000)))
    assert "1. change 1; $0.0100 to $0.0200 (-$0.0050 at most)" in said[1]
    assert "(+$0.0050 at most)" in said[2]
    assert f"stoker retry {JOB} --change N" in said[3]


def test_if_nothing_helps_it_says_why() -> None:
    said = proposal_lines(known(unhelpful=[Unhelpful(change="use_lora", why="It is LoRA already.")]))
    assert said == ["No change to the plan helps.", "  use_lora: It is LoRA already."]


def test_a_number_that_is_not_there_launches_nothing() -> None:
    assert chosen_proposal(known(a_proposal(1), a_proposal(2)), 2).number == 2
    with pytest.raises(RequestInvalid, match="no proposal 3"):
        chosen_proposal(known(a_proposal(1)), 3)
