"""Whether a training goes wrong, from its loss alone. Pure rules over points in order.

Smoothed is an exponential mean of the finite losses. The loss diverges when the smoothed one has been far above its
best for many points in a row. Points that come late, behind one that was judged already, are not judged.
"""

from dataclasses import dataclass
from typing import NamedTuple

from stoker_shared.rpc.metrics import LossTrouble, Point

LOSS = "loss"
_WEIGHT = 0.2
# A loss near 0 (all is learned) or below it (rewards) must rise by this much as well.
_LEAST_RISE = 0.5


@dataclass(frozen=True, slots=True)
class LossRules:
    """`factor`: how far above the best, `points`: for how long. `non_finite`: NaN or infinite so often in a row."""

    factor: float = 2.0
    points: int = 20
    non_finite: int = 2


class LossState(NamedTuple):
    """What is kept of the points so far. A tuple, as one is made for each point."""

    smoothed: float | None = None
    best: float | None = None
    best_step: int = 0
    points_above: int = 0
    non_finite: int = 0


def judge(known: LossState, point: Point, rules: LossRules) -> tuple[LossState, LossTrouble | None]:
    """The state after the next point, and what is wrong if something is."""
    if LOSS not in point.values:
        return known, None
    loss = point.values[LOSS]
    if loss is None:
        # NaN and the infinities come as null.
        known = known._replace(non_finite=known.non_finite + 1)
        return known, _not_finite(known, point) if known.non_finite >= rules.non_finite else None
    moved = _moved(known, loss, step=point.step, rules=rules)
    return moved, _diverging(moved, point, rules) if moved.points_above >= rules.points else None


def _moved(known: LossState, loss: float, *, step: int, rules: LossRules) -> LossState:
    smoothed = loss if known.smoothed is None else known.smoothed + _WEIGHT * (loss - known.smoothed)
    if known.best is None or smoothed <= known.best:
        return LossState(smoothed, smoothed, step)
    limit = _limit(known.best, rules)
    # After a spike the mean stays high for a while; only points that are high themselves count.
    above = known.points_above + (loss > limit) if smoothed > limit else 0
    return LossState(smoothed, known.best, known.best_step, above)


def _limit(best: float, rules: LossRules) -> float:
    return best + max((rules.factor - 1) * abs(best), _LEAST_RISE)


def _not_finite(known: LossState, point: Point) -> LossTrouble:
    detail = f"The loss was NaN or infinite {known.non_finite} times in a row, last at step {point.step}."
    return LossTrouble(kind="non_finite", at=point.at, step=point.step, detail=detail)


def _diverging(known: LossState, point: Point, rules: LossRules) -> LossTrouble:
    best = known.best or 0.0
    detail = (
        f"The smoothed loss is {known.smoothed:.4g} at step {point.step}; its best was {best:.4g} at step "
        f"{known.best_step}, and it has been above {_limit(best, rules):.4g} for {known.points_above} points."
    )
    return LossTrouble(kind="diverging", at=point.at, step=point.step, detail=detail)
