"""How much disk a run needs on a rented machine, and how large a volume it is given for that.

    packages     8 GB with CUDA (wheels, their cache and the environment made of them), 2 GB without
    model        the files with the weights, as the Hub lists them
    dataset      the file; unpacked and as rows in Arrow: its text twice; tokenised: 48 bytes per token, in two
                 copies (tokenised, then cut or packed). `datasets` was measured to write 16 bytes per token and copy
                 with the text and one mask; 24 leaves room for a second mask
    result       LoRA: adapter parameters x 4 bytes; else all weights as they are trained
    checkpoints  result + optimiser state, three times: the trainer keeps two and writes a third before it deletes one.
                 Once if the recipe saves none: a machine that has to go saves one all the same
    rest         1 GB: tokenizer, logs, the trainer, what is written for an instant

The rest was not measured on a rented machine; where it is a guess, it is a large one. The machine must have the sum
free when it starts. A volume is that and 10 % more, in whole GB of 10^9 bytes, for what a file system keeps to itself.

A plan whose volume is too small is blocked if the user named the size. If not, the plan asks for a larger volume than
the provider's default by itself, at the price of that volume: how much a run needs is known here and to no user, a
volume costs far less than the machine, and both are in the plan before anything is spent.
"""

import math
from collections.abc import Iterator

from pydantic import BaseModel, Field

from stoker_api.plans.memory import MemoryNeed
from stoker_api.plans.tokens import TokenLengths
from stoker_shared.recipe import Recipe
from stoker_shared.rpc.dataset_gateway import DatasetFacts
from stoker_shared.rpc.deployer import ModelFacts

_CUDA_PACKAGES_BYTES = 8_000_000_000
_CPU_PACKAGES_BYTES = 2_000_000_000
_COPIES_OF_TEXT = 2
_BYTES_PER_TOKEN = 48
_CHECKPOINTS = 3
_REST_BYTES = 1_000_000_000
_HEADROOM_PERCENT = 10
_GIGABYTE = 10**9


class DiskNeed(BaseModel):
    """Bytes on the machine's disk, by what occupies them."""

    packages: int
    model: int
    dataset: int
    result: int
    checkpoints: int
    rest: int

    @property
    def total(self) -> int:
        """The sum: what must be free when the machine starts."""
        return sum(amount for _, amount in self.parts())

    @property
    def least_volume_gb(self) -> int:
        """The smallest volume that holds it."""
        return math.ceil(self.total * (100 + _HEADROOM_PERCENT) / 100 / _GIGABYTE)

    def parts(self) -> Iterator[tuple[str, int]]:
        """Name and bytes of each."""
        yield from self.model_dump().items()


class Disk(BaseModel):
    """What the run needs on disk, and the volume that it gets."""

    need: DiskNeed
    total_bytes: int
    least_volume_gb: int
    volume_size_gb: int | None = Field(description="null: whatever the provider gives by itself")


def disk_need(
    model: ModelFacts,
    recipe: Recipe,
    *,
    dataset: DatasetFacts,
    tokens: TokenLengths,
    memory: MemoryNeed,
    on_gpu: bool,
) -> DiskNeed:
    """What a machine of that kind must have room for. `memory` is what the same run needs there."""
    text = max(dataset.size_bytes, dataset.statistics.characters_total)
    result = memory.weights if recipe.lora is None else memory.adapter
    checkpoints = _CHECKPOINTS if recipe.checkpoint_every_steps else 1
    return DiskNeed(
        packages=_CUDA_PACKAGES_BYTES if on_gpu else _CPU_PACKAGES_BYTES,
        model=model.weights_bytes,
        dataset=dataset.size_bytes + _COPIES_OF_TEXT * text + _BYTES_PER_TOKEN * tokens.total,
        result=result,
        checkpoints=checkpoints * (result + memory.optimiser),
        rest=_REST_BYTES,
    )


def volume_for(need: DiskNeed | None, *, wanted: int | None, default: int | None) -> int | None:
    """The size to order in GB; None: what the provider gives by itself.

    `wanted` is the user's word and stands. `default` is what a machine has if nobody names a size; None: machines of
    this provider have no volume that could be ordered.
    """
    if wanted is not None or need is None or default is None or need.least_volume_gb <= default:
        return wanted
    return need.least_volume_gb
