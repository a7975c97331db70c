"""The price ceiling: what a job may pay for an hour, in the offers of its plan and as the provider tells it."""

from collections.abc import Sequence

from stoker_deployer.jobs.steps import BeginTermination, Step
from stoker_deployer.jobs.view import View
from stoker_shared.commands import LaunchJob, PlannedOffer
from stoker_shared.job_state import EndReason
from stoker_shared.money import show_usd


def too_dear(launch: LaunchJob) -> str:
    """What the offers cost, when none is left that the job may pay for."""
    told = ", ".join(_told(offer) for offer in _cheapest_first(launch.offers)[:3])
    ceiling = show_usd(launch.max_price_micro_usd_per_hour or 0)
    return f"The job may pay {ceiling} per hour; of {len(launch.offers)} offers the cheapest are {told}."


def price_above_ceiling(view: View) -> Step | None:
    """The provider asks more for the machine than its offer said, and more than the job may pay."""
    ceiling = view.job.command.get("max_price_micro_usd_per_hour")
    if ceiling is None or view.price <= int(ceiling):
        return None
    return BeginTermination(
        EndReason.PRICE_ABOVE_CEILING,
        f"{view.attempt.provider} asks {show_usd(view.price)} per hour for {view.attempt.machine_name}; "
        f"the job may pay {show_usd(int(ceiling))}.",
    )


def _cheapest_first(offers: Sequence[PlannedOffer]) -> list[PlannedOffer]:
    return sorted(offers, key=lambda offer: offer.price_micro_usd_per_hour)


def _told(offer: PlannedOffer) -> str:
    return f"{offer.provider} {offer.gpu_type} at {show_usd(offer.price_micro_usd_per_hour)}"
