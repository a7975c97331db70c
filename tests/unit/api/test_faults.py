"""Each fault: what causes it, and that nothing else does."""

from dataclasses import replace
from typing import Any

import pytest

from stoker_api.plans.faults import (
    BLOCKING,
    WARNINGS,
    blocking_faults,
    reachable_from_outside,
    rows_truncated,
    warnings,
)
from stoker_api.plans.schemas import Fault
from stoker_api.plans.service import judge, rank_offers
from stoker_api.plans.situation import GatheredFacts, Situation
from stoker_shared.errors import RemoteRefusal
from stoker_shared.recipe import DataFormat
from stoker_shared.rpc.dataset_gateway import RowFault
from stoker_shared.rpc.deployer import OfferList, ProviderFault, ProviderHealth
from tests.unit.api.examples import (
    LLAMA_8B,
    SMOLLM2_135M,
    a_cpu_offer,
    a_dataset,
    a_gpu_offer,
    a_new_plan,
    a_policy,
    a_recipe,
    counted_tokens,
    gathered,
)

LOCALHOST = {"STOKER_API_GATEWAY_PUBLIC_URL": "http://127.0.0.1:8080"}


def refusal(code: str) -> RemoteRefusal:
    return RemoteRefusal(code=code, status=404, title="No", detail=f"{code}: no such model.", next_step="Check it.")


def situation_of(
    *,
    recipe: dict[str, Any] | None = None,
    wanted: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    **facts: Any,
) -> Situation:
    chosen = a_recipe(**(recipe or {}))
    plan = a_new_plan(recipe=chosen.model_dump(), **(wanted or {}))
    return judge(plan, recipe=chosen, facts=gathered(**facts), policy=a_policy(**(policy or {})))


def cloud(**changes: Any) -> Situation:
    """The same at a cloud provider, where nothing blocks either."""
    facts = {"offers": OfferList(offers=[a_gpu_offer()]), **changes.pop("facts", {})}
    return situation_of(wanted={"provider": "runpod", **changes.pop("wanted", {})}, **changes, **facts)


SINGLE_FAULTS: list[tuple[str, Situation]] = [
    ("dataset_not_stored", situation_of(dataset=a_dataset(state="uploading"))),
    ("dataset_not_stored", situation_of(dataset=a_dataset(state="checking"))),
    (
        "dataset_rejected",
        situation_of(
            dataset=a_dataset(
                state="rejected", faults_total=3, faults=[RowFault(line=7, code="x", message="no prompt")]
            )
        ),
    ),
    ("dataset_method_mismatch", situation_of(dataset=a_dataset(data_format=None, fits_methods=["dpo", "orpo"]))),
    ("provider_not_configured", situation_of(providers=[ProviderHealth(provider="runpod", is_usable=True)])),
    (
        "provider_not_usable",
        situation_of(providers=[ProviderHealth(provider="local", is_usable=False, detail="it is down")]),
    ),
    (
        "provider_not_usable",
        situation_of(
            offers=OfferList(offers=[], faults=[ProviderFault(provider="local", code="x", detail="key refused")])
        ),
    ),
    ("provider_not_usable", situation_of(offers=refusal("provider_auth_failed"))),
    ("model_not_found", situation_of(model=refusal("model_not_found"))),
    ("model_not_inspected", situation_of(model=refusal("provider_invalid_request"))),
    ("no_offers", situation_of(offers=OfferList(offers=[]))),
    ("memory_too_small", situation_of(offers=OfferList(offers=[a_cpu_offer(memory_bytes=10**9)]))),
    ("price_above_ceiling", cloud(wanted={"max_price_usd_per_hour": "0.000001"})),
    ("volume_too_small", cloud(wanted={"volume_size_gb": 10})),
    ("public_url_is_local", cloud(policy={"public_urls": LOCALHOST})),
    (
        "chat_template_missing",
        situation_of(
            dataset=a_dataset(data_format=DataFormat.MESSAGES),
            model=SMOLLM2_135M.model_copy(update={"has_chat_template": False}),
        ),
    ),
    ("budget_below_reservation", cloud(wanted={"budget_usd": "0.01"})),
    (
        "budget_below_forecast",
        cloud(
            wanted={"budget_usd": "1"},
            recipe={"length": {"epochs": 1000}},
            facts={"model": LLAMA_8B, "offers": OfferList(offers=[a_gpu_offer(vram_bytes=80 * 10**9)])},
        ),
    ),
]


@pytest.mark.parametrize(("code", "situation"), SINGLE_FAULTS, ids=[code for code, _ in SINGLE_FAULTS])
def test_each_cause_gives_its_fault_alone(code: str, situation: Situation) -> None:
    assert [fault.code for fault in blocking_faults(situation)] == [code]


@pytest.mark.parametrize(("code", "situation"), SINGLE_FAULTS, ids=[code for code, _ in SINGLE_FAULTS])
def test_each_fault_says_what_to_do_next(code: str, situation: Situation) -> None:
    for fault in blocking_faults(situation):
        assert fault.message.endswith((".", "!")) or ":" in fault.message
        assert fault.next_step.endswith(".")


def test_every_check_is_seen_at_work_above() -> None:
    fired = {check for check in BLOCKING for _, situation in SINGLE_FAULTS if check(situation) is not None}
    assert fired == set(BLOCKING)


def test_a_sound_plan_has_no_faults_and_no_warnings() -> None:
    assert blocking_faults(situation_of()) == []
    assert warnings(situation_of()) == []
    assert blocking_faults(cloud()) == []


def test_all_faults_are_told_at_once() -> None:
    situation = cloud(
        policy={"public_urls": LOCALHOST},
        wanted={"budget_usd": "0.01"},
        facts={"model": refusal("model_not_found"), "dataset": a_dataset(state="uploading")},
    )
    codes = [fault.code for fault in blocking_faults(situation)]
    assert codes == ["dataset_not_stored", "model_not_found", "public_url_is_local", "budget_below_reservation"]


def test_a_mismatch_names_the_methods_that_fit() -> None:
    fault = blocking_faults(situation_of(dataset=a_dataset(data_format=None, fits_methods=["dpo", "orpo"])))[0]
    assert "dpo, orpo" in fault.message


def test_a_rejected_dataset_shows_its_first_fault() -> None:
    dataset = a_dataset(state="rejected", faults_total=3, faults=[RowFault(line=7, code="x", message="no prompt")])
    assert "line 7: no prompt" in blocking_faults(situation_of(dataset=dataset))[0].message


def test_a_local_url_is_fine_for_machines_that_are_here_whatever_their_provider_is_called() -> None:
    assert blocking_faults(situation_of(policy={"public_urls": LOCALHOST})) == []
    simulated = ProviderHealth(provider="runpod", is_usable=True, machines_are_here=True)
    assert blocking_faults(cloud(policy={"public_urls": LOCALHOST}, facts={"providers": [simulated]})) == []
    elsewhere = ProviderHealth(provider="local", is_usable=True)
    faults = blocking_faults(situation_of(policy={"public_urls": LOCALHOST}, providers=[elsewhere]))
    assert [fault.code for fault in faults] == ["public_url_is_local"]


def test_a_volume_that_is_too_small_is_told_with_the_size_to_ask_for() -> None:
    small = cloud(wanted={"volume_size_gb": 10})
    assert small.disk is not None
    [fault] = blocking_faults(small)
    assert "volume_size_gb is 10" in fault.message
    assert "packages 8.0 GB" in fault.message
    assert f"volume_size_gb to {small.disk.least_volume_gb}," in fault.next_step
    assert blocking_faults(cloud(wanted={"volume_size_gb": small.disk.least_volume_gb})) == []


def test_where_no_volume_is_ordered_none_is_too_small() -> None:
    assert blocking_faults(situation_of(wanted={"volume_size_gb": 1})) == []


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        ("model_gated", "model_gated"),
        ("model_no_access", "model_no_access"),
        ("hub_token_refused", "hub_token_refused"),
        ("secret_not_set", "secret_not_set"),
        ("hub_unreachable", "model_not_inspected"),
    ],
)
def test_what_is_wrong_with_a_model_keeps_its_name_and_its_next_step(remote: str, told: str) -> None:
    [fault] = blocking_faults(cloud(facts={"model": refusal(remote)}))
    assert (fault.code, fault.next_step) == (told, "Check it.")


def test_a_provider_that_is_away_is_told_once() -> None:
    facts: GatheredFacts = gathered(
        providers=[ProviderHealth(provider="local", is_usable=False, detail="it is down")],
        offers=OfferList(offers=[]),
        model=refusal("provider_invalid_request"),
    )
    situation = judge(a_new_plan(), recipe=a_recipe(), facts=facts, policy=a_policy())
    assert [fault.code for fault in blocking_faults(situation)] == ["provider_not_usable"]


WARNED: list[tuple[str, Situation]] = [
    ("budget_may_not_last", cloud(wanted={"budget_usd": "0.07"})),
    ("may_take_too_long", situation_of(wanted={"max_duration_seconds": 60})),
    (
        "sequences_longer_than_model",
        situation_of(model=SMOLLM2_135M.model_copy(update={"max_position": 256})),
    ),
    ("rows_truncated", situation_of(tokens=counted_tokens(tokens_p95=900, tokens_max=950, truncated_share=0.06))),
    ("memory_unknown", situation_of(offers=OfferList(offers=[a_cpu_offer(memory_bytes=None)]))),
    ("speed_unknown", cloud(facts={"offers": OfferList(offers=[a_gpu_offer(gpu_type="Frobnicator")])})),
    ("nothing_free_now", situation_of(offers=OfferList(offers=[a_cpu_offer(is_available=False)]))),
]


@pytest.mark.parametrize(("code", "situation"), WARNED, ids=[code for code, _ in WARNED])
def test_each_warning_warns_and_does_not_block(code: str, situation: Situation) -> None:
    assert [warning.code for warning in warnings(situation)] == [code]
    assert blocking_faults(situation) == []


def test_every_warning_is_seen_at_work_above() -> None:
    assert {check for check in WARNINGS for _, situation in WARNED if check(situation) is not None} == set(WARNINGS)


def truncation(*, max_position: int = 8192, **tokens: Any) -> Fault | None:
    model = SMOLLM2_135M.model_copy(update={"max_position": max_position})
    return rows_truncated(situation_of(model=model, tokens=counted_tokens(**tokens)))


def test_many_cut_rows_are_told_with_the_length_to_set() -> None:
    fault = truncation(tokens_p95=1234, tokens_max=2000, truncated_share=0.25)
    assert fault is not None
    assert fault.message.startswith("25 % of the rows are longer than batch.max_length 512")
    assert "1,234 tokens or less" in fault.message
    assert fault.next_step.startswith("Set batch.max_length to 1234;")


@pytest.mark.parametrize("share", [0.0, 0.05, None])
def test_a_few_cut_rows_are_no_warning(share: float | None) -> None:
    assert truncation(tokens_max=2000, truncated_share=share) is None


@pytest.mark.parametrize(
    ("max_position", "said"),
    [(1024, "Set batch.max_length to 1024, the most that the model was made for"), (512, "Shorten or split the rows")],
)
def test_no_length_is_advised_that_the_model_was_not_made_for(max_position: int, said: str) -> None:
    fault = truncation(max_position=max_position, tokens_p95=3000, tokens_max=4000, truncated_share=0.5)
    assert fault is not None
    assert fault.next_step.startswith(said)


@pytest.mark.parametrize(("p95", "is_told"), [(640, False), (641, True)])
def test_an_estimate_warns_only_if_it_would_be_so_with_five_characters_a_token(p95: int, *, is_told: bool) -> None:
    fault = truncation(is_exact=False, rows_measured=0, tokens_p95=p95, tokens_max=9999, truncated_share=None)
    assert (fault is not None) is is_told
    if fault is not None:
        assert "estimate" in fault.message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://stoker.example.com", True),
        ("http://8.8.8.8:8000", True),
        ("https://[2606:4700::1111]/x", True),
        ("http://localhost:8000", False),
        ("http://api.localhost", False),
        ("http://127.0.0.1:8000", False),
        ("http://[::1]:8000", False),
        ("http://10.0.0.5", False),
        ("http://192.168.1.5:80", False),
        ("http://0.0.0.0:80", False),
        ("http://gateway:8000", False),
        ("http://mini.local", False),
    ],
)
def test_which_urls_a_machine_elsewhere_can_reach(url: str, *, expected: bool) -> None:
    assert reachable_from_outside(url) is expected


def test_offers_are_ranked_by_fit_then_free_then_price() -> None:
    cheap_small = a_gpu_offer(gpu_type="small", vram_bytes=10**9, price_micro_usd_per_hour=1)
    unknown = a_gpu_offer(gpu_type="unknown", vram_bytes=None, price_micro_usd_per_hour=2)
    taken = a_gpu_offer(gpu_type="taken", price_micro_usd_per_hour=3, is_available=False)
    dear = a_gpu_offer(gpu_type="dear", price_micro_usd_per_hour=900_000)
    fair = a_gpu_offer(gpu_type="fair", price_micro_usd_per_hour=800_000)
    ranked = rank_offers([cheap_small, unknown, taken, dear, fair], model=SMOLLM2_135M, recipe=a_recipe())
    assert [candidate.offer.gpu_type for candidate in ranked] == ["fair", "dear", "taken", "unknown", "small"]


def test_without_a_budget_the_plan_takes_the_forecast_with_a_margin() -> None:
    situation = cloud(policy={"default_budget_floor": 0})
    assert situation.forecast is not None
    assert situation.budget_micro_usd == situation.forecast.cost_micro_usd_high * 125 // 100
    assert (
        situation_of(offers=OfferList(offers=[a_cpu_offer(price_micro_usd_per_hour=0)])).budget_micro_usd == 1_000_000
    )


def test_a_frozen_situation_is_judged_on_its_own_facts() -> None:
    sound = situation_of()
    spoilt = replace(sound, facts=gathered(dataset=a_dataset(state="uploading")))
    assert blocking_faults(sound) == []
    assert [fault.code for fault in blocking_faults(spoilt)] == ["dataset_not_stored"]


def test_the_least_budget_covers_the_stay_after_a_success() -> None:
    plain = situation_of()
    kept = situation_of(wanted={"keep_alive_seconds": 3600, "budget_usd": "0.05"})
    # The machine costs 0.10 USD an hour.
    assert kept.minimum_micro_usd == plain.minimum_micro_usd + 100_000
    [fault] = blocking_faults(kept)
    assert fault.code == "budget_below_reservation"
    assert "3600 s of the machine after a success" in fault.message
