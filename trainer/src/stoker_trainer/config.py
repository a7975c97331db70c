"""The one configuration object. Its JSON is the recipe of the control plane plus `data` and `output_dir`."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from stoker_trainer.errors import InvalidConfig

MethodName = Literal["sft"]
DataFormatName = Literal["messages", "prompt_completion", "text", "preference", "unpaired_preference", "prompt_only"]
ConversionName = Literal["sharegpt", "alpaca", "text_pairs"]

METHOD_FORMATS: dict[MethodName, tuple[DataFormatName, ...]] = {"sft": ("messages", "prompt_completion", "text")}
"""What each method can learn from."""

CONVERSION_FORMATS: dict[ConversionName, DataFormatName] = {
    "sharegpt": "messages",
    "alpaca": "prompt_completion",
    "text_pairs": "prompt_completion",
}
"""What the rows are after each conversion."""


class Section(BaseModel):
    """Frozen; an unknown key is an error, so a misspelt setting is never silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelConfig(Section):
    """The base model: a folder, a .gguf file, or a name on the Hugging Face Hub.

    `dtype` auto is float32 on CPU and bfloat16 on GPU.
    """

    name_or_path: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=512)]
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class DataConfig(Section):
    """Where the rows are and what they look like. `path` is filled in by the pod, and needed by hand.

    With `conversion` the file holds rows of another shape, which become `format` as they are read.
    """

    path: Path | None = None
    format: DataFormatName
    conversion: ConversionName | None = None

    @model_validator(mode="after")
    def _conversion_leads_to_format(self) -> Self:
        if self.conversion and self.format != CONVERSION_FORMATS[self.conversion]:
            raise ValueError(
                f"conversion {self.conversion} makes {CONVERSION_FORMATS[self.conversion]}, not {self.format}"
            )
        return self


class HeldOutConfig(Section):
    """Rows kept from training to measure the loss before and after. `fraction` 0 keeps none."""

    fraction: float = Field(default=0.1, ge=0, lt=1)
    max_rows: int = Field(default=64, ge=1, le=10_000)
    seed: int = 17


class LoraConfig(Section):
    """Low-rank adapter. `alpha / rank` scales the update; `dropout` 0 means none."""

    rank: int = Field(default=16, ge=1, le=512)
    alpha: int = Field(default=32, ge=1, le=2048)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class OptimiserConfig(Section):
    """AdamW. `warmup_ratio` is a share of all steps, `max_grad_norm` clips the gradient's length."""

    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)


class BatchConfig(Section):
    """`per_device` rows per step and device; `max_length` in tokens; `packing` joins short rows."""

    per_device: int = Field(default=4, ge=1, le=4096)
    gradient_accumulation: int = Field(default=1, ge=1, le=4096)
    max_length: int = Field(default=512, ge=8, le=1_048_576)
    packing: bool = False


class LengthConfig(Section):
    """How long to train. `max_steps` 0 means that `epochs` decides, else the steps decide."""

    epochs: float = Field(default=1.0, gt=0, le=1000)
    max_steps: int = Field(default=0, ge=0, le=10_000_000)


class TrainingConfig(Section):
    """Everything a run needs to know. `lora` null trains all weights; `checkpoint_every_steps` 0 saves none.

    Each saved checkpoint goes to the gateway unless `upload_checkpoints` is off; the newest `keep_uploaded_checkpoints`
    stay there.
    """

    schema_version: Literal[1] = 1
    method: MethodName = "sft"
    model: ModelConfig
    data: DataConfig
    held_out: HeldOutConfig = HeldOutConfig()
    lora: LoraConfig | None = LoraConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    batch: BatchConfig = BatchConfig()
    length: LengthConfig = LengthConfig()
    checkpoint_every_steps: int = Field(default=0, ge=0)
    upload_checkpoints: bool = True
    keep_uploaded_checkpoints: int = Field(default=2, ge=1, le=100)
    log_every_steps: int = Field(default=1, ge=1)
    seed: int = 17
    sample_prompts: list[Annotated[str, StringConstraints(min_length=1, max_length=4000)]] = Field(
        default_factory=list, max_length=16
    )
    sample_max_new_tokens: int = Field(default=64, ge=1, le=2048)
    output_dir: Path | None = None

    @model_validator(mode="after")
    def _packing_needs_room(self) -> Self:
        if self.batch.packing and self.batch.max_length < 64:
            raise ValueError("batch.packing needs batch.max_length of 64 tokens or more")
        return self

    @model_validator(mode="after")
    def _method_learns_from_format(self) -> Self:
        known = METHOD_FORMATS[self.method]
        if self.data.format not in known:
            raise ValueError(
                f"method {self.method} cannot learn from {self.data.format} rows, only from {', '.join(known)}"
            )
        return self

    def on_this_machine(self, *, data_path: Path, output_dir: Path) -> "TrainingConfig":
        """The same run with this machine's paths."""
        data = self.data.model_copy(update={"path": data_path})
        return self.model_copy(update={"data": data, "output_dir": output_dir})

    @property
    def output_folder(self) -> Path:
        """Where the result goes; ./fine_tuned_model unless the configuration says otherwise."""
        return self.output_dir or Path("fine_tuned_model")

    @property
    def data_path(self) -> Path:
        """The data file. Raises InvalidConfig when there is none."""
        if self.data.path is None:
            raise InvalidConfig('data.path is missing: set it to the file to train on, e.g. "data.jsonl"')
        return self.data.path

    def run_values(self, *, devices: int) -> dict[str, object]:
        """What makes two runs the same: all but the paths of a machine and how its devices share the batch.

        A checkpoint taken with other devices fits, as long as each update of the weights sees the same rows.
        """
        values = self.model_dump(mode="json", exclude={"output_dir": True, "data": {"path"}})
        batch = values["batch"]
        for name in ("per_device", "gradient_accumulation"):
            del batch[name]
        batch["effective"] = self.effective_batch(devices=devices)
        return values

    def effective_batch(self, *, devices: int) -> int:
        """Rows that one update of the weights sees. Without a GPU the processor is the one device."""
        return self.batch.per_device * self.batch.gradient_accumulation * max(1, devices)

    def sha256(self) -> str:
        """Hash of the canonical JSON, without the paths of one machine: equal runs have equal hashes."""
        values = self.model_dump(mode="json")
        values["data"]["path"] = None
        values["output_dir"] = None
        return hashlib.sha256(canonical_json(values)).hexdigest()


def canonical_json(values: object) -> bytes:
    """Sorted keys, no spaces, UTF-8: the same values are always the same bytes."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_config(text: str | bytes) -> TrainingConfig:
    """Read a configuration from JSON. Raises InvalidConfig with the path of each wrong field."""
    try:
        return TrainingConfig.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(_fault(item["loc"], item["msg"]) for item in error.errors(include_url=False))
        raise InvalidConfig(f"the training configuration is not valid: {faults}") from error


def _fault(location: tuple[int | str, ...], message: str) -> str:
    return f"{'.'.join(map(str, location)) or 'document'}: {message}"
