"""What the failed job was, as the wishes that its plan was made from."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from stoker_api.plans.freeze import FrozenPlan, thaw
from stoker_api.plans.schemas import NewPlan, Plan
from stoker_api.plans.tables import PlanRow
from stoker_shared.commands import PlannedOffer
from stoker_shared.money import ONE_USD
from stoker_shared.rpc.deployer import Offer

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class Basis:
    """The plan that failed, what it ran on, and what can be rented now."""

    wishes: NewPlan
    frozen: FrozenPlan
    highest_cost: int | None
    ran_on: PlannedOffer | None
    offers: tuple[Offer, ...] = ()


def basis_of(row: PlanRow, *, gpu_type: str | None, gpu_count: int | None, offers: Iterable[Offer]) -> Basis:
    """Read it back from the plan's row. `gpu_type` and `gpu_count` are those of the last attempt."""
    frozen, plan = thaw(row.frozen), Plan.model_validate(row.answer)
    ran_on = next(
        (offer for offer in frozen.offers if (offer.gpu_type, offer.gpu_count) == (gpu_type, gpu_count)),
        frozen.offers[0] if frozen.offers else None,
    )
    return Basis(
        wishes=_wishes(frozen, plan=plan, environment=row.environment),
        frozen=frozen,
        highest_cost=plan.forecast.cost_micro_usd_high if plan.forecast else None,
        ran_on=ran_on,
        offers=tuple(offers),
    )


def dollars(amount: int) -> Decimal:
    """Micro-dollars as dollars."""
    return Decimal(amount) / ONE_USD


def _wishes(frozen: FrozenPlan, *, plan: Plan, environment: dict[str, str]) -> NewPlan:
    ceiling = frozen.max_price_micro_usd_per_hour
    return NewPlan.model_validate(
        {
            "dataset_version_id": frozen.dataset_version_id,
            "recipe": frozen.recipe,
            "provider": frozen.provider,
            "project": frozen.project,
            # A plan offers one type of GPU alone only if that was asked for, or there is no other.
            "gpu_type": _only(offer.gpu_type for offer in frozen.offers),
            "gpu_count": _only(offer.gpu_count for offer in frozen.offers),
            "budget_usd": None if plan.budget.is_default else dollars(frozen.budget_micro_usd),
            "max_attempts": frozen.max_attempts,
            "max_duration_seconds": frozen.max_duration_seconds,
            "docker_image": frozen.docker_image,
            "volume_size_gb": frozen.volume_size_gb,
            "keep_alive_seconds": frozen.keep_alive_seconds,
            "max_price_usd_per_hour": None if ceiling is None else dollars(ceiling),
            "secrets": set(frozen.secrets),
            "environment": environment,
        }
    )


def _only(values: Iterable[ValueT]) -> ValueT | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None
