"""Whether what a plan stands on is still so."""

from stoker_api.plans.freeze import FrozenPlan
from stoker_api.plans.gathering import FactGatherer
from stoker_shared.commands import PlannedOffer
from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.money import show_usd
from stoker_shared.rpc.dataset_gateway import DatasetFacts, DescribeDataset
from stoker_shared.rpc.deployer import Offer, OfferList, OffersQuery


class FreshnessCheck:
    """Asks the gateway and the deployer again."""

    def __init__(self, gatherer: FactGatherer) -> None:
        self._gatherer = gatherer

    async def changes(self, plan: FrozenPlan) -> list[str]:
        """What has changed for the worse; empty if the plan holds.

        Raises:
            ServiceUnavailable: nobody can tell, which is not taken for "unchanged".
        """
        first = plan.offers[0]
        dataset, offers = await self._gatherer.look_again(
            DescribeDataset(owner=plan.owner, dataset_version_id=plan.dataset_version_id),
            offers=OffersQuery(
                owner=plan.owner,
                provider=first.provider,
                gpu_type=first.gpu_type,
                gpu_count=first.gpu_count,
                volume_size_gb=plan.volume_size_gb,
            ),
        )
        return [*dataset_changes(plan, dataset), *offer_changes(first, offers)]


def dataset_changes(plan: FrozenPlan, dataset: DatasetFacts | RemoteRefusal) -> list[str]:
    """What became of the dataset version."""
    if isinstance(dataset, RemoteRefusal):
        return [f"the dataset {plan.dataset_version_id} is gone"]
    if dataset.state != "stored":
        return [f"the dataset {plan.dataset_version_id} is {dataset.state}"]
    if dataset.sha256 != plan.dataset_sha256:
        return [f"the content of the dataset {plan.dataset_version_id} is another"]
    return []


def offer_changes(planned: PlannedOffer, offers: OfferList | RemoteRefusal) -> list[str]:
    """What became of the offer. One that is taken just now is no change: the job waits or takes the next.

    Raises:
        ServiceUnavailable: the provider could not be asked.
    """
    if isinstance(offers, RemoteRefusal):
        return [f"{planned.provider} refuses: {offers.detail}"]
    for fault in offers.faults:
        if fault.provider == planned.provider:
            raise ServiceUnavailable(planned.provider, fault.detail)
    same = [offer for offer in offers.offers if _is_same(offer, planned)]
    if not same:
        return [f"{planned.gpu_type} is not offered by {planned.provider} any more"]
    now = min(offer.price_micro_usd_per_hour for offer in same)
    if now > planned.price_micro_usd_per_hour:
        before = show_usd(planned.price_micro_usd_per_hour)
        return [f"the price of {planned.gpu_type} rose from {before} to {show_usd(now)} per hour"]
    return []


def _is_same(offer: Offer, planned: PlannedOffer) -> bool:
    wanted = (planned.provider, planned.gpu_type, planned.gpu_count, planned.place)
    return (offer.provider, offer.gpu_type, offer.gpu_count, offer.place) == wanted
