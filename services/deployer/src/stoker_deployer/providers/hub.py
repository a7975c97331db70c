"""What the Hugging Face Hub says of a base model: the machines of clouds load models from there."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import SecretStr

from stoker_deployer.providers.errors import (
    HubTokenRefused,
    HubUnreachable,
    ModelAccessDenied,
    ModelGated,
    ModelNotFound,
    ModelUnusable,
)
from stoker_shared.rpc.deployer import ModelFacts

HUB_URL = "https://huggingface.co"
HUB_SECRET = "huggingface"  # noqa: S105 - the name of the secret
"""What users set their token of the Hub as."""

_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?$")
_TIMEOUT = httpx.Timeout(10.0)
_GATED = "GatedRepo"
_WITH_TOKEN = "Check the name, and that the huggingface token may read it."  # noqa: S105 - words
_WITHOUT_TOKEN = "Check the name; a private model needs a token: --secret huggingface."  # noqa: S105 - words
_SIZES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "attention_heads": ("num_attention_heads", "n_head", "num_heads"),
    "key_value_heads": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocabulary": ("vocab_size",),
    "max_position": ("max_position_embeddings", "n_positions"),
}
"""Our names and those of the architectures, in order of preference; 0 when none is there."""


class Hub:
    """Reads a model's listing and its config.json; never its weights. `provider` is who asks, for the errors."""

    def __init__(self, http: httpx.AsyncClient, *, provider: str, url: str = HUB_URL) -> None:
        self._http = http
        self._provider = provider
        self.url = url.rstrip("/")

    async def inspect(self, name: str, *, token: SecretStr | None = None) -> ModelFacts:
        """Facts about a model, as the owner of `token` sees it. The token is sent to `url` and to no other host.

        Raises:
            ModelNotFound: the hub has none of this name; a path is none that a rented machine could have.
            ModelGated: its licence must be accepted first, and a token is needed.
            ModelAccessDenied: the token does not open it.
            HubTokenRefused: the hub does not know the token.
            ModelUnusable: it is there, without a config or weights that can be counted.
            HubUnreachable: the hub does not answer the deployer.
        """
        if not _REPOSITORY.match(name):
            raise ModelNotFound(self._provider, name)
        listing = await self._json(f"/api/models/{name}", name, token=token, params={"blobs": "true"})
        config = await self._json(f"/{name}/resolve/main/config.json", name, token=token)
        weights = [
            file for file in _dicts(listing.get("siblings")) if str(file.get("rfilename")).endswith(".safetensors")
        ]
        tensors = listing.get("safetensors")
        parameters = tensors.get("total") if isinstance(tensors, Mapping) else None
        if not isinstance(parameters, int) or not weights:
            raise ModelUnusable(self._provider, name, "it has no safetensors on the Hugging Face Hub")
        text = config.get("text_config") or config  # multimodal models nest it
        architectures = config.get("architectures") or [config.get("model_type", "unknown")]
        return ModelFacts(
            name_or_path=name,
            architecture=str(architectures[0]),
            parameters=parameters,
            weights_bytes=sum(int(file.get("size") or 0) for file in weights),
            has_chat_template=_has_chat_template(listing),
            **{ours: _first_number(text, theirs) for ours, theirs in _SIZES.items()},
        )

    async def _json(
        self, path: str, name: str, *, token: SecretStr | None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        try:
            # The hub sends on to where its files are; httpx takes the token out for another host than the first.
            response = await self._http.get(
                f"{self.url}{path}", params=params, headers=headers, timeout=_TIMEOUT, follow_redirects=True
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(type(error).__name__) from error
        self._demand_access(response, name, has_token=token is not None)
        try:
            body = response.json()
        except ValueError as error:
            raise self._unreachable("an answer that is no JSON") from error
        if not isinstance(body, dict):
            raise ModelUnusable(self._provider, name, f"{path} is not a JSON object")
        return body

    def _demand_access(self, response: httpx.Response, name: str, *, has_token: bool) -> None:
        status, is_gated = response.status_code, response.headers.get("X-Error-Code") == _GATED
        if status in (401, 403) and not has_token and is_gated:
            raise ModelGated(self._provider, name)
        # To those who are not signed in the hub calls what does not exist 401.
        if status == 404 or (status == 401 and not has_token):
            raise ModelNotFound(self._provider, name, next_step=_WITH_TOKEN if has_token else _WITHOUT_TOKEN)
        # The hub names its own refusals; a firewall before it does not.
        if has_token and (is_gated or (status == 403 and "X-Error-Message" in response.headers)):
            raise ModelAccessDenied(name)
        if status == 401:
            raise HubTokenRefused
        if not response.is_success:
            raise self._unreachable(f"status {status}")

    def _unreachable(self, why: str) -> HubUnreachable:
        return HubUnreachable(
            self._provider,
            f"the Hugging Face Hub does not answer the deployer ({why})",
            next_step="Try again, or check STOKER_DEPLOYER_HUB_URL.",
        )


def _has_chat_template(listing: Mapping[str, Any]) -> bool:
    config = listing.get("config")
    tokenizer = config.get("tokenizer_config") if isinstance(config, Mapping) else None
    in_config = isinstance(tokenizer, Mapping) and "chat_template" in tokenizer
    return in_config or any(file.get("rfilename") == "chat_template.jinja" for file in _dicts(listing.get("siblings")))


def _dicts(listed: Any) -> list[Mapping[str, Any]]:
    return [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []


def _first_number(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((config[name] for name in names if isinstance(config.get(name), int)), 0)
