"""Finding and loading the base model and its tokenizer."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker_trainer.config import LoraConfig, ModelConfig
from stoker_trainer.errors import ModelNotFound

if TYPE_CHECKING:
    import peft
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL_ROOTS_VARIABLE = "STOKER_MODEL_ROOTS"
"""Folders, separated like PATH, in which a relative model name is looked for before the hub is asked."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model is read from. `folder` None means the hub; `gguf_file` is a file in the folder."""

    name: str
    folder: Path | None = None
    gguf_file: str | None = None

    @property
    def is_local(self) -> bool:
        """True when no network is needed."""
        return self.folder is not None

    def arguments(self, revision: str | None) -> dict[str, Any]:
        """Arguments for from_pretrained."""
        if self.folder is None:
            return {"pretrained_model_name_or_path": self.name, "revision": revision or "main"}
        arguments: dict[str, Any] = {"pretrained_model_name_or_path": str(self.folder), "local_files_only": True}
        return arguments | ({"gguf_file": self.gguf_file} if self.gguf_file else {})


def find_model(name: str, environment: Mapping[str, str] = os.environ) -> ModelSource:
    """Resolve a name: a path, a folder in one of the model roots, else a hub name.

    Raises ModelNotFound when the name can only be a path and nothing is there.
    """
    roots = [Path(root) for root in environment.get(MODEL_ROOTS_VARIABLE, "").split(os.pathsep) if root]
    candidates = [Path(name).expanduser(), *(root / name for root in roots if is_inside(root / name, root))]
    for candidate in candidates:
        if candidate.is_file() and candidate.suffix == ".gguf":
            return ModelSource(name, folder=candidate.parent, gguf_file=candidate.name)
        if candidate.is_dir():
            return _folder_source(name, candidate)
    if looks_like_path(name):
        tried = ", ".join(str(candidate) for candidate in candidates)
        raise ModelNotFound(f"there is no model at {name} on this machine (tried {tried}). Check model.name_or_path.")
    return ModelSource(name)


def looks_like_path(name: str) -> bool:
    """True for names that cannot be on the hub (owner/name at most)."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or name.endswith(".gguf")


def is_inside(path: Path, root: Path) -> bool:
    """True when `path` does not leave `root` through `..` or a link."""
    return path.resolve().is_relative_to(root.resolve())


def _folder_source(name: str, folder: Path) -> ModelSource:
    if (folder / "config.json").exists():
        return ModelSource(name, folder=folder)
    gguf_files = sorted(folder.glob("*.gguf"))
    if len(gguf_files) == 1:
        return ModelSource(name, folder=folder, gguf_file=gguf_files[0].name)
    raise ModelNotFound(
        f"{folder} is no model folder: it has no config.json and {len(gguf_files)} .gguf files. "
        "Point model.name_or_path at a folder with config.json and *.safetensors, or at one .gguf file."
    )


def load_tokenizer(source: ModelSource, revision: str | None) -> "PreTrainedTokenizerBase":
    """The tokenizer with its chat template. Raises ModelNotFound."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer.from_pretrained, source, source.arguments(revision))
    return tokenizer


def load_model(source: ModelSource, config: ModelConfig, *, dtype_name: str) -> "PreTrainedModel":
    """The causal language model with weights of the given dtype. Raises ModelNotFound."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    arguments = source.arguments(config.revision) | {"dtype": getattr(torch, dtype_name)}
    if source.gguf_file:
        # Without this flag the model stays marked as quantised: it can neither be trained nor saved.
        arguments["quantization_config"] = GgufConfig(dequantize=True)
    model: PreTrainedModel = _load(AutoModelForCausalLM.from_pretrained, source, arguments)
    return model


def lora_settings(lora: LoraConfig | None) -> "peft.LoraConfig | None":
    """PEFT's form of the adapter settings; None trains all weights."""
    if lora is None:
        return None
    import peft

    return peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )


def _load(loader: Any, source: ModelSource, arguments: dict[str, Any]) -> Any:
    try:
        return loader(**arguments)
    except OSError as error:
        where = source.folder or f"the Hugging Face Hub as {source.name}"
        first_line = str(error).strip().splitlines()[0][:300]
        raise ModelNotFound(
            f"the model could not be loaded from {where}: {first_line}. Check model.name_or_path and revision; "
            "a gated model needs HF_TOKEN and an accepted licence, and a hub model needs network access."
        ) from error
