"""A gated model is looked at with the token that the plan asks for: its owner's, for this question, at the Hub only."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from structlog.testing import capture_logs

from stoker_deployer.providers.configured import configured_providers
from stoker_shared.clock import SystemClock
from stoker_shared.errors import RemoteRefusal
from stoker_shared.rpc.deployer import INSPECT_MODEL, InspectModel
from tests.integration.deployer.clouds import ANNA, BERTA, Clouds, cloud_world, set_key
from tests.integration.deployer.world import World
from tests.simulators.hub import running_hub

NAME = "org/gated"
TOKEN, OTHER = "hf_TOKENxWITHxACCESSxANNA", "hf_TOKENxWITHOUTxANYxBERTA"


@asynccontextmanager
async def _with_hub(world: World, folder: Path) -> AsyncIterator[None]:
    """A deployer with provider `runpod` and a Hub; both users have a provider's key."""
    model = folder / "models" / NAME
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}))
    save_file({"weight": np.zeros((8, 4), dtype=np.float32)}, model / "model.safetensors")
    with running_hub(folder / "models", gated=[NAME], tokens={TOKEN: [NAME], OTHER: []}) as url:
        settings = cloud_world(world, Clouds(), folder) | {"HUB_URL": url, "RUNPOD_URL": "http://127.0.0.1:9/v2"}
        providers = configured_providers(world.settings(**settings), clock=SystemClock())
        world.factories = providers.factories
        try:
            await world.start_deployer(**settings)
            for owner in (ANNA, BERTA):
                await set_key(world, owner, "rpa_A0KEY0OF0A0USER0HERE", name="runpod")
            yield
        finally:
            await providers.close()


def _question(owner: str, *secrets: str) -> InspectModel:
    return InspectModel(owner=owner, provider="runpod", name_or_path=NAME, secrets=list(secrets))


async def test_what_stands_between_a_user_and_a_gated_model_is_told_apart(world: World, tmp_path: Path) -> None:
    refusals: dict[str, RemoteRefusal] = {}
    with capture_logs() as logs:
        async with _with_hub(world, tmp_path):
            with pytest.raises(RemoteRefusal) as not_set:
                await world.peers.ask(INSPECT_MODEL, _question(ANNA, "huggingface"))
            assert (await set_key(world, ANNA, TOKEN, name="huggingface")).state == "unchecked"
            await set_key(world, BERTA, OTHER, name="huggingface")
            with pytest.raises(RemoteRefusal) as not_asked_for:
                await world.peers.ask(INSPECT_MODEL, _question(ANNA))
            with pytest.raises(RemoteRefusal) as another:
                await world.peers.ask(INSPECT_MODEL, _question(ANNA, "wandb"))
            with pytest.raises(RemoteRefusal) as no_access:
                await world.peers.ask(INSPECT_MODEL, _question(BERTA, "wandb", "huggingface"))
            facts = await world.peers.ask(INSPECT_MODEL, _question(ANNA, "huggingface"))
    assert (facts.parameters, facts.layers) == (32, 2)
    refusals = {"unset": not_set.value, "not asked for": not_asked_for.value, "without access": no_access.value}
    assert {what: refusal.remote_code for what, refusal in refusals.items()} == {
        "unset": "secret_not_set",
        "not asked for": "model_gated",
        "without access": "model_no_access",
    }
    assert another.value.remote_code == "model_gated"
    assert "--secret huggingface" in refusals["not asked for"].next_step
    told = f"{facts!r} {[vars(refusal) for refusal in refusals.values()]} {json.dumps(logs, default=repr)}"
    assert TOKEN not in told
    assert OTHER not in told
