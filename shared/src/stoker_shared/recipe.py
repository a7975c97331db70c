"""A recipe: how to train. Its JSON is what the trainer reads, so the two must keep the same shape (contract test)."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator


class Method(StrEnum):
    """Training methods that the trainer carries out."""

    SFT = "sft"


class DataFormat(StrEnum):
    """What the rows of a dataset are."""

    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt_completion"
    TEXT = "text"
    PREFERENCE = "preference"
    UNPAIRED_PREFERENCE = "unpaired_preference"
    PROMPT_ONLY = "prompt_only"


class Conversion(StrEnum):
    """How rows of another well-known shape become rows of a format, losing nothing (docs/datasets.md)."""

    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    TEXT_PAIRS = "text_pairs"


METHOD_FORMATS: dict[Method, frozenset[DataFormat]] = {
    Method.SFT: frozenset({DataFormat.MESSAGES, DataFormat.PROMPT_COMPLETION, DataFormat.TEXT}),
}
"""Which data each method can learn from."""

FORMATS_OF_METHODS: dict[str, frozenset[DataFormat]] = {
    "sft": METHOD_FORMATS[Method.SFT],
    "dpo": frozenset({DataFormat.PREFERENCE}),
    "orpo": frozenset({DataFormat.PREFERENCE}),
    "reward": frozenset({DataFormat.PREFERENCE}),
    "kto": frozenset({DataFormat.UNPAIRED_PREFERENCE, DataFormat.PREFERENCE}),
    "grpo": frozenset({DataFormat.PROMPT_ONLY}),
}
"""The same for every method that TRL knows of and users may mean their data for, whether the trainer has it or not."""


class RecipePart(BaseModel):
    """Base of recipe sections: frozen, and unknown keys are refused rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelChoice(RecipePart):
    """The base model: a folder on the training machine, or a name on the Hugging Face Hub."""

    name_or_path: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=512)]
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class HeldOut(RecipePart):
    """Rows kept from training and used to measure the loss before and after. `fraction` 0 means none."""

    fraction: float = Field(default=0.1, ge=0, lt=1)
    max_rows: int = Field(default=64, ge=1, le=10_000)
    seed: int = 17


class Lora(RecipePart):
    """Low-rank adapter. `alpha / rank` scales the update."""

    rank: int = Field(default=16, ge=1, le=512)
    alpha: int = Field(default=32, ge=1, le=2048)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class Optimiser(RecipePart):
    """AdamW and its schedule. `warmup_ratio` is a share of all steps."""

    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)


class Batch(RecipePart):
    """Rows per device and step, and how long a row may be in tokens."""

    per_device: int = Field(default=4, ge=1, le=4096)
    gradient_accumulation: int = Field(default=1, ge=1, le=4096)
    max_length: int = Field(default=512, ge=8, le=1_048_576)
    packing: bool = False


class Length(RecipePart):
    """How long to train. `max_steps` 0 means that the epochs decide."""

    epochs: float = Field(default=1.0, gt=0, le=1000)
    max_steps: int = Field(default=0, ge=0, le=10_000_000)


class Recipe(RecipePart):
    """A whole training configuration without the data."""

    schema_version: Literal[1] = 1
    method: Method = Method.SFT
    model: ModelChoice
    held_out: HeldOut = HeldOut()
    lora: Lora | None = Lora()
    optimiser: Optimiser = Optimiser()
    batch: Batch = Batch()
    length: Length = Length()
    checkpoint_every_steps: int = Field(default=0, ge=0)
    upload_checkpoints: bool = True
    keep_uploaded_checkpoints: int = Field(default=2, ge=1, le=100)
    log_every_steps: int = Field(default=1, ge=1)
    seed: int = 17
    sample_prompts: list[Annotated[str, StringConstraints(min_length=1, max_length=4000)]] = Field(
        default_factory=list, max_length=16
    )
    sample_max_new_tokens: int = Field(default=64, ge=1, le=2048)

    @model_validator(mode="after")
    def _packing_needs_room(self) -> Self:
        if self.batch.packing and self.batch.max_length < 64:
            raise ValueError("batch.packing needs batch.max_length of 64 tokens or more")
        return self


def training_config(recipe: Recipe, *, data_format: DataFormat, conversion: Conversion | None = None) -> dict[str, Any]:
    """What the trainer gets as `TRAINING_CONFIG`: the recipe plus the form of the data."""
    config = recipe.model_dump(mode="json")
    config["data"] = {
        "path": None,
        "format": data_format.value,
        "conversion": conversion.value if conversion else None,
    }
    config["output_dir"] = None
    return config
