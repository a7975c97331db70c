"""What the Hugging Face Hub says of a base model."""

from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr

from stoker_deployer.providers.errors import (
    HubTokenRefused,
    HubUnreachable,
    ModelAccessDenied,
    ModelGated,
    ModelNotFound,
    ModelUnusable,
)
from stoker_deployer.providers.hub import Hub
from stoker_shared.errors import TransientError, UserError

NAME = "Qwen/Qwen2.5-0.5B-Instruct"
LISTING = f"https://hub.test/api/models/{NAME}"
CONFIG = f"https://hub.test/{NAME}/resolve/main/config.json"


def _listing(**changes: Any) -> dict[str, Any]:
    return {
        "id": NAME,
        "safetensors": {"parameters": {"BF16": 494_032_768}, "total": 494_032_768},
        "siblings": [
            {"rfilename": "config.json", "size": 659},
            {"rfilename": "model.safetensors", "size": 988_097_824},
        ],
        "config": {"architectures": ["Qwen2ForCausalLM"], "tokenizer_config": {"chat_template": "{{ x }}"}},
        **changes,
    }


QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "vocab_size": 151_936,
    "max_position_embeddings": 32_768,
}


TOKEN = SecretStr("hf_THETOKENTHATONLYTHEHUBMAYSEE")


async def _inspected(routes: respx.MockRouter, name: str = NAME, *, token: SecretStr | None = None) -> Any:
    async with httpx.AsyncClient() as http:
        return await Hub(http, provider="runpod", url="https://hub.test/").inspect(name, token=token)


@respx.mock
async def test_a_model_is_described_from_listing_and_config() -> None:
    respx.get(LISTING, params={"blobs": "true"}).respond(json=_listing())
    respx.get(CONFIG).respond(307, headers={"Location": "/api/resolve-cache/config.json"})
    respx.get("https://hub.test/api/resolve-cache/config.json").respond(json=QWEN)
    facts = await _inspected(respx.mock)
    assert (facts.parameters, facts.layers, facts.hidden_size) == (494_032_768, 24, 896)
    assert (facts.key_value_heads, facts.vocabulary, facts.max_position) == (2, 151_936, 32_768)
    assert (facts.weights_bytes, facts.has_chat_template) == (988_097_824, True)


@respx.mock
async def test_a_nested_config_and_a_template_in_a_file_are_found() -> None:
    siblings = [*_listing()["siblings"], {"rfilename": "chat_template.jinja", "size": 5}]
    respx.get(url__startswith=LISTING).respond(json=_listing(config={}, siblings=siblings))
    respx.get(CONFIG).respond(json={"model_type": "gemma", "text_config": {"hidden_size": 1152}})
    facts = await _inspected(respx.mock)
    assert (facts.architecture, facts.hidden_size, facts.has_chat_template) == ("gemma", 1152, True)


@pytest.mark.parametrize("name", ["/workspace/model", "./model", "../model", "a/b/c", "", "org/..", "a?x=y/b"])
@respx.mock
async def test_a_path_is_nothing_that_a_rented_machine_has(name: str) -> None:
    with pytest.raises(ModelNotFound):
        await _inspected(respx.mock, name)


@pytest.mark.parametrize("status", [401, 404])
@respx.mock
async def test_a_model_that_the_hub_does_not_know_is_not_found(status: int) -> None:
    respx.get(url__startswith=LISTING).respond(status, headers={"X-Error-Code": "RepoNotFound"})
    with pytest.raises(ModelNotFound):
        await _inspected(respx.mock)


@pytest.mark.parametrize("status", [401, 403])
@respx.mock
async def test_a_gated_model_is_told_from_one_that_is_not_there(status: int) -> None:
    respx.get(url__startswith=LISTING).respond(json=_listing())
    respx.get(CONFIG).respond(status, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(ModelGated):
        await _inspected(respx.mock)


@pytest.mark.parametrize(
    "listing",
    [_listing(safetensors=None), _listing(siblings=[]), ["no object"]],
    ids=["no weights", "no files", "list"],
)
@respx.mock
async def test_a_model_that_cannot_be_planned_for_says_why(listing: Any) -> None:
    respx.get(url__startswith=LISTING).respond(json=listing)
    respx.get(CONFIG).respond(json=QWEN)
    with pytest.raises(ModelUnusable):
        await _inspected(respx.mock)


@pytest.mark.parametrize(
    "failure",
    [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.Response(503), httpx.Response(200, text="<html>")],
    ids=["nobody", "slow", "503", "no JSON"],
)
@respx.mock
async def test_a_hub_that_does_not_answer_is_asked_again_later(failure: Any) -> None:
    respx.get(url__startswith=LISTING).mock(side_effect=[failure])
    with pytest.raises(HubUnreachable) as away:
        await _inspected(respx.mock)
    assert isinstance(away.value, TransientError)


@respx.mock
async def test_the_token_goes_with_each_question_to_the_hub_and_to_no_other_host() -> None:
    listing = respx.get(url__startswith=LISTING).respond(json=_listing())
    config = respx.get(CONFIG).respond(307, headers={"Location": "/api/resolve-cache/config.json"})
    cache = respx.get("https://hub.test/api/resolve-cache/config.json").respond(
        302, headers={"Location": "https://cdn.elsewhere.test/config.json"}
    )
    files = respx.get("https://cdn.elsewhere.test/config.json").respond(json=QWEN)
    assert (await _inspected(respx.mock, token=TOKEN)).layers == 24
    sent = [route.calls.last.request.headers.get("Authorization") for route in (listing, config, cache, files)]
    assert sent == [*[f"Bearer {TOKEN.get_secret_value()}"] * 3, None]


@respx.mock
async def test_without_a_token_nothing_is_said_of_who_asks() -> None:
    listing = respx.get(url__startswith=LISTING).respond(json=_listing())
    respx.get(CONFIG).respond(json=QWEN)
    await _inspected(respx.mock)
    assert "Authorization" not in listing.calls.last.request.headers


@pytest.mark.parametrize(
    ("response", "error", "next_step"),
    [
        (httpx.Response(403, headers={"X-Error-Code": "GatedRepo"}), ModelAccessDenied, "Accept its licence"),
        (httpx.Response(403, headers={"X-Error-Message": "fine-grained"}), ModelAccessDenied, "fine-grained token"),
        (httpx.Response(401, headers={"X-Error-Message": "Invalid"}), HubTokenRefused, "secrets set huggingface"),
        (httpx.Response(404, headers={"X-Error-Code": "RepoNotFound"}), ModelNotFound, "token may read it"),
    ],
    ids=["licence", "rights", "unknown token", "not there"],
)
@respx.mock
async def test_what_a_token_does_not_open_says_why(
    response: httpx.Response, error: type[UserError], next_step: str
) -> None:
    respx.get(url__startswith=LISTING).mock(return_value=response)
    with pytest.raises(error) as refused:
        await _inspected(respx.mock, token=TOKEN)
    assert next_step in refused.value.next_step
    assert TOKEN.get_secret_value() not in f"{refused.value!r} {refused.value} {vars(refused.value)}"


@respx.mock
async def test_a_firewall_before_the_hub_is_no_word_of_the_hub() -> None:
    respx.get(url__startswith=LISTING).respond(403, text="error code: 1010")
    with pytest.raises(HubUnreachable):
        await _inspected(respx.mock, token=TOKEN)


@respx.mock
async def test_a_gated_model_tells_how_to_ask_with_a_token() -> None:
    respx.get(url__startswith=LISTING).respond(json=_listing())
    respx.get(CONFIG).respond(401, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(ModelGated) as gated:
        await _inspected(respx.mock)
    assert "stoker secrets set huggingface" in gated.value.next_step
    assert "--secret huggingface" in gated.value.next_step
