"""How much memory a training run needs, from the model's own configuration.

    total = weights + adapter + gradients + optimiser + activations + loss head + overhead

    weights      parameters x bytes per value
    adapter      LoRA parameters x 4; PEFT keeps adapters in float32
    gradients    trained parameters x their bytes
    optimiser    trained parameters x 2 x their bytes (AdamW's two moments)
    activations  tokens x bytes per value x (what the backward pass reads again)
                   every layer:  10 hidden + 4 key-value width + 4 intermediate, LoRA: + 2 x outputs of adapted layers
                   on a GPU gradient checkpointing keeps one hidden state per layer and all of that for one layer only
    loss head    3 x tile of logits in float32; the trainer's fused head works on 4096 tokens x 32768 words at most
    overhead     CPU: what the libraries occupy; GPU: the CUDA context

The activation factors are fitted to SmolLM2-135M in float32 on CPU (9 sizes, within 10 %; tests/unit/api/test_memory.py
holds the table). The GPU side follows the same formula and has not been measured on a GPU.
"""

from typing import Literal

from pydantic import BaseModel

from stoker_shared.recipe import Lora, Recipe
from stoker_shared.rpc.deployer import ModelFacts, Offer

_BYTES_PER_VALUE = {"float32": 4, "bfloat16": 2, "float16": 2}
_ADAPTER_BYTES = 4
_LOGIT_BYTES = 4
_HEAD_TILE_TOKENS = 4096
_HEAD_TILE_WORDS = 32_768
_CPU_OVERHEAD_BYTES = 557_000_000
_GPU_OVERHEAD_BYTES = 1_000_000_000
# Fragmentation, and what the formula does not see. In per cent, since a plan's figures are whole numbers.
HEADROOM_PERCENT = 15

_ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class MemoryNeed(BaseModel):
    """Bytes on one device, by what occupies them. `needed` is the total with headroom."""

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    activations: int
    loss_head: int
    overhead: int
    trained_parameters: int

    @property
    def total(self) -> int:
        """The sum, without headroom."""
        parts = (self.weights, self.adapter, self.gradients, self.optimiser, self.activations)
        return sum(parts) + self.loss_head + self.overhead

    @property
    def needed(self) -> int:
        """What a device must have for the run to be called fitting."""
        return self.total * (100 + HEADROOM_PERCENT) // 100


FitVerdict = Literal["fits", "does_not_fit", "unknown"]


def memory_need(model: ModelFacts, recipe: Recipe, *, on_gpu: bool) -> MemoryNeed:
    """What one device needs; with several GPUs each holds a whole copy."""
    width = _value_bytes(recipe, on_gpu=on_gpu)
    adapter = adapter_parameters(model, recipe.lora)
    trained = model.parameters if recipe.lora is None else adapter
    trained_width = width if recipe.lora is None else _ADAPTER_BYTES
    tokens = recipe.batch.per_device * recipe.batch.max_length
    return MemoryNeed(
        weights=model.parameters * width,
        adapter=adapter * _ADAPTER_BYTES,
        gradients=trained * trained_width,
        optimiser=trained * trained_width * 2,
        activations=tokens * width * _values_per_token(model, recipe, has_checkpointing=on_gpu),
        loss_head=3 * min(tokens, _HEAD_TILE_TOKENS) * min(model.vocabulary, _HEAD_TILE_WORDS) * _LOGIT_BYTES,
        overhead=_GPU_OVERHEAD_BYTES if on_gpu else _CPU_OVERHEAD_BYTES,
        trained_parameters=trained,
    )


def verdict(need: MemoryNeed, offer: Offer) -> FitVerdict:
    """Whether the run fits into the device of an offer: a GPU's memory, or the machine's without a GPU."""
    has = capacity(offer)
    if has is None:
        return "unknown"
    return "fits" if need.needed <= has else "does_not_fit"


def capacity(offer: Offer) -> int | None:
    """The bytes of one device of an offer, None if the provider does not tell."""
    return offer.vram_bytes if offer.gpu_count > 0 else offer.memory_bytes


def adapter_parameters(model: ModelFacts, lora: Lora | None) -> int:
    """How many parameters the adapter trains: rank x (inputs + outputs) of each adapted layer."""
    if lora is None:
        return 0
    shapes = _linear_shapes(model)
    per_layer = sum(lora.rank * sum(shapes[name]) for name in _adapted_layers(lora))
    return per_layer * model.layers


def _values_per_token(model: ModelFacts, recipe: Recipe, *, has_checkpointing: bool) -> int:
    per_layer = 10 * model.hidden_size + 4 * _key_value_width(model) + 4 * model.intermediate_size
    if recipe.lora is not None:
        shapes = _linear_shapes(model)
        per_layer += 2 * sum(shapes[name][1] for name in _adapted_layers(recipe.lora))
    if has_checkpointing:
        return model.layers * model.hidden_size + per_layer
    return model.layers * per_layer


def _adapted_layers(lora: Lora) -> list[str]:
    wanted = lora.target_modules
    if wanted == "all-linear":
        return list(_ADAPTED)
    names = [wanted] if isinstance(wanted, str) else wanted
    known = [name for name in _ADAPTED if name in names]
    # A name that we do not know may be any layer: count them all rather than too few.
    return known if len(known) == len(names) else list(_ADAPTED)


def _linear_shapes(model: ModelFacts) -> dict[str, tuple[int, int]]:
    hidden, narrow, wide = model.hidden_size, _key_value_width(model), model.intermediate_size
    return {
        "q_proj": (hidden, hidden),
        "k_proj": (hidden, narrow),
        "v_proj": (hidden, narrow),
        "o_proj": (hidden, hidden),
        "gate_proj": (hidden, wide),
        "up_proj": (hidden, wide),
        "down_proj": (wide, hidden),
    }


def _key_value_width(model: ModelFacts) -> int:
    return model.hidden_size // max(model.attention_heads, 1) * model.key_value_heads


def _value_bytes(recipe: Recipe, *, on_gpu: bool) -> int:
    # What the trainer does with "auto".
    default = "bfloat16" if on_gpu else "float32"
    return _BYTES_PER_VALUE[default if recipe.model.dtype == "auto" else recipe.model.dtype]
