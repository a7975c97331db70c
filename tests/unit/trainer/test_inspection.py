"""Model facts come from headers, not from weights."""

import json
import struct
from pathlib import Path

import pytest

from stoker_trainer.errors import ModelNotFound
from stoker_trainer.model import find_model
from stoker_trainer.server.errors import ModelFormatUnsupported, ModelNotFoundHere
from stoker_trainer.server.inspection import inspect_model


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32}
    config |= {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    }
    (folder / "config.json").write_text(json.dumps(config))
    for number, shape in enumerate(([32, 8], [8, 16])):
        header = json.dumps(
            {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 1]}, "__metadata__": {}}
        ).encode()
        (folder / f"model-{number}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    return folder


def test_a_relative_name_is_found_below_a_root(tmp_path: Path) -> None:
    write_model(tmp_path / "roots" / "small")
    facts = inspect_model("small", model_roots=f"/nowhere:{tmp_path / 'roots'}")
    assert (facts.parameters, facts.layers, facts.key_value_heads, facts.vocabulary) == (32 * 8 + 8 * 16, 2, 2, 32)
    assert facts.architecture == "LlamaForCausalLM"
    assert not facts.has_chat_template


def test_a_name_does_not_leave_its_root(tmp_path: Path) -> None:
    write_model(tmp_path / "secret")
    (tmp_path / "roots").mkdir()
    with pytest.raises(ModelNotFoundHere, match="tried"):
        inspect_model("../secret", model_roots=str(tmp_path / "roots"))


def test_a_path_that_is_not_there_is_not_asked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundHere, match=str(tmp_path)):
        inspect_model(f"{tmp_path}/none", model_roots="")


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"not it")
    with pytest.raises(ModelFormatUnsupported, match="not a safetensors file"):
        inspect_model(str(folder), model_roots="")


def test_a_folder_with_two_gguf_files_is_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    assert find_model(str(tmp_path), {}).gguf_file == "a.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(ModelNotFound, match=r"2 \.gguf files"):
        find_model(str(tmp_path), {})
