"""What the deployer reads of a model on the hub is what the hub's own client, and so a pod, finds there."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydantic import SecretStr
from safetensors.numpy import save_file

from stoker_deployer.providers.errors import HubTokenRefused, ModelAccessDenied, ModelGated, ModelNotFound
from stoker_deployer.providers.hub import Hub
from tests.simulators.hub import running_hub

_AS_A_POD = """
import json, os, sys
from huggingface_hub import HfApi, snapshot_download
folder = snapshot_download(sys.argv[1])
values = HfApi().get_safetensors_metadata(sys.argv[1]).parameter_count
print(json.dumps({"parameters": sum(values.values()), "config": json.load(open(f"{folder}/config.json"))}))
"""


def _model(folder: Path) -> None:
    folder.mkdir(parents=True)
    sizes = {"hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 8}
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **sizes}))
    save_file({"weight": np.zeros((8, 4), dtype=np.float32)}, folder / "model.safetensors")


def _surroundings(url: str, home: Path) -> dict[str, str]:
    # Training in this process, in another test, leaves HF_HUB_OFFLINE and the like behind.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return {**kept, "HF_ENDPOINT": url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}


async def test_deployer_and_pod_see_the_same_model(tmp_path: Path) -> None:
    _model(tmp_path / "models" / "org" / "tiny")
    with running_hub(tmp_path / "models") as url:
        async with httpx.AsyncClient(trust_env=False) as http:
            facts = await Hub(http, provider="runpod", url=url).inspect("org/tiny")
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", _AS_A_POD, "org/tiny"],
            env=_surroundings(url, tmp_path / "home"),
            capture_output=True,
            check=True,
            timeout=120,
        )
    seen = json.loads(done.stdout)
    assert facts.parameters == seen["parameters"] == 32
    assert (facts.layers, facts.vocabulary) == (seen["config"]["num_hidden_layers"], seen["config"]["vocab_size"])


async def test_a_gated_and_an_unknown_model_are_told_apart(tmp_path: Path) -> None:
    _model(tmp_path / "models" / "org" / "gated")
    with running_hub(tmp_path / "models", gated=["org/gated"]) as url:
        async with httpx.AsyncClient(trust_env=False) as http:
            hub = Hub(http, provider="runpod", url=url)
            with pytest.raises(ModelGated):
                await hub.inspect("org/gated")
            with pytest.raises(ModelNotFound):
                await hub.inspect("org/none")


async def test_a_token_opens_a_gated_model_to_deployer_and_pod_alike(tmp_path: Path) -> None:
    _model(tmp_path / "models" / "org" / "gated")
    tokens = {"hf_with_access": ["org/gated"], "hf_without": []}
    with running_hub(tmp_path / "models", gated=["org/gated"], tokens=tokens) as url:
        async with httpx.AsyncClient(trust_env=False) as http:
            hub = Hub(http, provider="runpod", url=url)
            facts = await hub.inspect("org/gated", token=SecretStr("hf_with_access"))
            with pytest.raises(ModelAccessDenied):
                await hub.inspect("org/gated", token=SecretStr("hf_without"))
            with pytest.raises(HubTokenRefused):
                await hub.inspect("org/gated", token=SecretStr("hf_of_nobody"))
            with pytest.raises(ModelNotFound):
                await hub.inspect("org/none", token=SecretStr("hf_with_access"))
        around = _surroundings(url, tmp_path / "home")
        command = [sys.executable, "-c", _AS_A_POD, "org/gated"]
        opened, refused = [
            await asyncio.to_thread(
                subprocess.run, command, env={**around, "HF_TOKEN": token}, capture_output=True, timeout=120
            )
            for token in ("hf_with_access", "hf_without")
        ]
    assert json.loads(opened.stdout)["parameters"] == facts.parameters == 32
    assert b"GatedRepoError" in refused.stderr
