"""Facts about a model from its config.json and the headers of its weights; the weights are not read."""

import json
import math
import struct
from pathlib import Path
from typing import Any

from stoker_trainer.errors import ModelNotFound
from stoker_trainer.files import read_json
from stoker_trainer.model import MODEL_ROOTS_VARIABLE, find_model
from stoker_trainer.server.errors import HubUnreachable, ModelFormatUnsupported, ModelNotFoundHere
from stoker_trainer.server.schemas import ModelFacts

MAX_HEADER_BYTES = 100 << 20
CONFIG_NAMES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "attention_heads": ("num_attention_heads", "n_head", "num_heads"),
    "key_value_heads": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocabulary": ("vocab_size",),
    "max_position": ("max_position_embeddings", "n_positions"),
}
"""Our names and those of the architectures, in order of preference; 0 when none is there."""


def inspect_model(name: str, *, model_roots: str) -> ModelFacts:
    """Look at a model here or on the hub. `model_roots` is separated like PATH.

    Raises ModelNotFoundHere, ModelFormatUnsupported, HubUnreachable.
    """
    try:
        source = find_model(name, {MODEL_ROOTS_VARIABLE: model_roots})
    except ModelNotFound as error:
        raise ModelNotFoundHere(str(error)) from error
    if source.gguf_file:
        raise ModelFormatUnsupported(f"{name} is a GGUF file; it can be trained but not planned for")
    return _local_facts(name, source.folder) if source.folder else _hub_facts(name)


def _local_facts(name: str, folder: Path) -> ModelFacts:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelFormatUnsupported(f"{folder} has a config.json but no *.safetensors")
    has_template = any((folder / file).exists() for file in ("chat_template.jinja", "chat_template.json"))
    tokenizer = read_json(folder / "tokenizer_config.json") or {}
    return _facts(
        name,
        read_json(folder / "config.json"),
        parameters=sum(count_parameters(path) for path in weights),
        weights_bytes=sum(path.stat().st_size for path in weights),
        has_chat_template=has_template or bool(tokenizer.get("chat_template")),
    )


def count_parameters(path: Path) -> int:
    """Number of values in a safetensors file, from its header. Raises ModelFormatUnsupported."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
        if length > MAX_HEADER_BYTES:
            raise ModelFormatUnsupported(f"{path} is not a safetensors file: its header is {length} bytes long")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise ModelFormatUnsupported(f"{path} is not a safetensors file: its header is not JSON") from error
    return sum(math.prod(tensor["shape"]) for key, tensor in header.items() if key != "__metadata__")


def _hub_facts(name: str) -> ModelFacts:
    import httpx
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        NotASafetensorsRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    api = HfApi()
    try:
        info = api.model_info(name, files_metadata=True)
        weights = api.get_safetensors_metadata(name)
        config = read_json(Path(hf_hub_download(name, "config.json")))
    except (RepositoryNotFoundError, GatedRepoError) as error:
        gated = "it is gated: accept its licence and set HF_TOKEN" if isinstance(error, GatedRepoError) else "not there"
        raise ModelNotFoundHere(f"{name} is no folder here, and on the Hugging Face Hub: {gated}") from error
    except NotASafetensorsRepoError as error:
        raise ModelFormatUnsupported(f"{name} has no safetensors on the Hugging Face Hub") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.TransportError, OSError) as error:
        text = f"{name} is no folder here, and the hub did not answer ({type(error).__name__})"
        raise HubUnreachable(text) from error
    files = info.siblings or []
    sizes = [file.size or 0 for file in files if file.rfilename.endswith(".safetensors")]
    return _facts(
        name,
        config,
        parameters=sum(weights.parameter_count.values()),
        weights_bytes=sum(sizes),
        has_chat_template=_hub_has_template(info),
    )


def _hub_has_template(info: Any) -> bool:
    config = info.config or {}
    in_config = "chat_template" in (config.get("tokenizer_config") or {})
    return in_config or any(file.rfilename == "chat_template.jinja" for file in info.siblings or [])


def _facts(name: str, config: Any, *, parameters: int, weights_bytes: int, has_chat_template: bool) -> ModelFacts:
    if not isinstance(config, dict):
        raise ModelFormatUnsupported(f"the config.json of {name} is not a JSON object")
    text_config = config.get("text_config") or config  # multimodal models nest it
    sizes = {ours: _first_number(text_config, theirs) for ours, theirs in CONFIG_NAMES.items()}
    architectures = config.get("architectures") or [config.get("model_type", "unknown")]
    return ModelFacts(
        name_or_path=name,
        architecture=architectures[0],
        parameters=parameters,
        weights_bytes=weights_bytes,
        has_chat_template=has_chat_template,
        **sizes,
    )


def _first_number(config: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((config[name] for name in names if isinstance(config.get(name), int)), 0)
