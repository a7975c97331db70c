"""`/v1/secrets`: the one place where a secret arrives in clear text. It leaves sealed with the deployer's key."""

from typing import Annotated

from fastapi import APIRouter, Path

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.responses import INVALID, NOT_FOUND, UNAUTHORISED, UNAVAILABLE
from stoker_api.secrets.schemas import NewSecret
from stoker_shared.rpc.deployer import (
    REMOVE_SECRET,
    SECRETS,
    SET_SECRET,
    VAULT_KEY,
    RemoveSecret,
    SecretFacts,
    SecretList,
    SecretsQuery,
    SetSecret,
    VaultKeyQuery,
)
from stoker_shared.sealing import seal

router = APIRouter(prefix="/v1/secrets", tags=["secrets"], responses={**UNAUTHORISED, **UNAVAILABLE})

Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="runpod, huggingface or wandb")]


@router.get("", summary="List secrets")
async def list_secrets(account: CurrentAccount, parts: PartsOfRequest) -> SecretList:
    """Which secrets you have set, with their last characters; never the secrets."""
    return await parts.rpc.ask(SECRETS, SecretsQuery(owner=account.user_id))


@router.put("/{name}", summary="Set a secret", responses={**INVALID, **NOT_FOUND})
async def set_secret(name: Name, wanted: NewSecret, account: CurrentAccount, parts: PartsOfRequest) -> SecretFacts:
    """Seal it, have it checked, use it from the next attempt on. Machines that run keep the key that launched them."""
    key = await parts.rpc.ask(VAULT_KEY, VaultKeyQuery())
    sealed = seal(wanted.value, owner=account.user_id, name=name, public_key=key.public_key)
    return await parts.rpc.ask(
        SET_SECRET, SetSecret(owner=account.user_id, name=name, sealed=sealed, key_id=key.key_id)
    )


@router.delete("/{name}", summary="Remove a secret", responses={**INVALID, **NOT_FOUND})
async def remove_secret(name: Name, account: CurrentAccount, parts: PartsOfRequest) -> SecretList:
    """No attempt begins with it any more. It is wiped when no machine needs it; until then it is `retired`."""
    return await parts.rpc.ask(REMOVE_SECRET, RemoveSecret(owner=account.user_id, name=name))
