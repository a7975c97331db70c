"""What makes a plan stale."""

import pytest

from stoker_api.plans.freeze import FrozenPlan
from stoker_api.plans.freshness import dataset_changes, offer_changes
from stoker_shared.commands import PlannedOffer
from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.recipe import DataFormat
from stoker_shared.rpc.deployer import Offer, OfferList, ProviderFault
from tests.unit.api.examples import DATASET_ID, OWNER, SHA256, a_dataset, a_gpu_offer, a_recipe

PLANNED = PlannedOffer.model_validate(a_gpu_offer().model_dump())
GONE = RemoteRefusal(code="not_found", status=404, title="Not found", detail="It is gone.", next_step="")
PLAN = FrozenPlan(
    owner=OWNER,
    provider="runpod",
    dataset_version_id=DATASET_ID,
    dataset_sha256=SHA256,
    data_format=DataFormat.TEXT,
    recipe=a_recipe(),
    offers=[PLANNED],
    budget_micro_usd=1,
    max_attempts=1,
    max_duration_seconds=60,
    docker_image=None,
    volume_size_gb=None,
    environment_names=[],
)


def test_an_unchanged_dataset_and_offer_keep_the_plan() -> None:
    assert dataset_changes(PLAN, a_dataset()) == []
    assert offer_changes(PLANNED, OfferList(offers=[a_gpu_offer()])) == []


def test_a_dataset_that_is_gone_or_rejected_makes_it_stale() -> None:
    assert "is gone" in dataset_changes(PLAN, GONE)[0]
    assert "is rejected" in dataset_changes(PLAN, a_dataset(state="rejected"))[0]
    assert "another" in dataset_changes(PLAN, a_dataset(sha256="cd" * 32))[0]


@pytest.mark.parametrize(
    ("offer", "is_stale"),
    [
        (a_gpu_offer(price_micro_usd_per_hour=740_001), True),
        (a_gpu_offer(price_micro_usd_per_hour=739_999), False),
        (a_gpu_offer(is_available=False), False),
        (a_gpu_offer(place="US-TX-1"), True),
        (a_gpu_offer(gpu_type="NVIDIA L4"), True),
    ],
)
def test_only_a_dearer_or_vanished_offer_makes_it_stale(offer: Offer, *, is_stale: bool) -> None:
    assert bool(offer_changes(PLANNED, OfferList(offers=[offer]))) is is_stale


def test_a_provider_that_cannot_be_asked_is_not_taken_for_a_change() -> None:
    fault = ProviderFault(provider="runpod", code="x", detail="timeout")
    with pytest.raises(ServiceUnavailable, match="timeout"):
        offer_changes(PLANNED, OfferList(offers=[], faults=[fault]))
