"""The batch on another GPU: fewer rows at once on each device, more steps of accumulation, the same rows per update."""

from dataclasses import dataclass

from stoker_shared.commands import LaunchJob, PlannedOffer
from stoker_shared.recipe import Batch

_MOST_ACCUMULATION = 4096
"""The trainer takes no more."""


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """Rows per device and micro-step, and micro-steps per update of the weights."""

    per_device: int
    accumulation: int


def fitted(launch: LaunchJob, offer: PlannedOffer, *, halvings: int = 0) -> DeviceBatch | None:
    """The batch of the recipe for an offer's devices, in as many halves as their memory and `halvings` ask for.

    The effective batch (rows per update, over all devices) is that of the recipe on the plan's first offer, exactly.
    None if these devices cannot share it evenly.
    """
    batch, planned = launch.recipe.batch, launch.offers[0]
    rows, rest = divmod(_rows_per_update(batch, planned), _devices(offer))
    if rest or rows == 0:
        return None
    limit = max(1, batch.per_device >> (_halves(planned, offer) + halvings))
    per_device = next(count for count in range(limit, 0, -1) if rows % count == 0)
    accumulation = rows // per_device
    return DeviceBatch(per_device, accumulation) if accumulation <= _MOST_ACCUMULATION else None


def _rows_per_update(batch: Batch, offer: PlannedOffer) -> int:
    return batch.per_device * batch.gradient_accumulation * _devices(offer)


def _devices(offer: PlannedOffer) -> int:
    return max(1, offer.gpu_count)  # without a GPU the processor is the one device


def _halves(planned: PlannedOffer, offer: PlannedOffer) -> int:
    # Memory that nobody tells is taken for enough: running out of it halves the batch as well.
    if not planned.vram_bytes or not offer.vram_bytes:
        return 0
    halves = 0
    while offer.vram_bytes << halves < planned.vram_bytes:
        halves += 1
    return halves
