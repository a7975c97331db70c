"""`/v1/notifications`: asked of the metrics service. Addresses and signing secrets leave sealed with its key."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import SecretStr

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.notifications.schemas import (
    DeliveryFilter,
    NewRule,
    NewSigningSecret,
    NewTarget,
    TargetChange,
    TargetMade,
)
from stoker_api.responses import INVALID, NOT_FOUND, UNAUTHORISED, UNAVAILABLE
from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc import notifications as rpc
from stoker_shared.rpc.deployer import VaultKey, VaultKeyQuery
from stoker_shared.sealing import seal
from stoker_shared.signing_secrets import new_signing_secret

router = APIRouter(prefix="/v1/notifications", tags=["notifications"], responses={**UNAUTHORISED, **UNAVAILABLE})

_FAULTS = {**INVALID, **NOT_FOUND}

TargetPath = Annotated[str, Path(pattern=r"^target-[0-9a-f]{16}$")]
RulePath = Annotated[str, Path(pattern=r"^rule-[0-9a-f]{16}$")]
DeliveryPath = Annotated[str, Path(pattern=r"^msg-[0-9a-f]{16}$")]


@router.get("/targets", summary="List notification targets")
async def list_targets(account: CurrentAccount, parts: PartsOfRequest) -> rpc.TargetList:
    """Where you are told; of the addresses only where they lead and their last characters."""
    return await parts.rpc.ask(rpc.TARGETS, rpc.OwnerQuery(owner=account.user_id))


@router.post("/targets", status_code=201, summary="Add a notification target", responses={**_FAULTS})
async def add_target(wanted: NewTarget, account: CurrentAccount, parts: PartsOfRequest) -> TargetMade:
    """Seal the address and keep it. Of a webhook the secret that signs is told here, once.

    The same name, address and signing secret again are the same target: a call without an answer may be repeated.
    """
    target_id = new_identifier("target")
    signing = wanted.signing_secret
    if wanted.kind == "webhook" and signing is None:
        signing = new_signing_secret()
    key = await parts.rpc.ask(rpc.NOTIFY_KEY, VaultKeyQuery())
    asked = rpc.AddTarget(
        owner=account.user_id,
        target_id=target_id,
        name=wanted.name,
        kind=wanted.kind,
        sealed_address=_sealed(wanted.address, account.user_id, target_id, rpc.ADDRESS_NAME, key),
        sealed_signing=_sealed(signing, account.user_id, target_id, rpc.SIGNING_NAME, key) if signing else None,
        key_id=key.key_id,
    )
    target = await parts.rpc.ask(rpc.ADD_TARGET, asked)
    return TargetMade(target=target, signing_secret=signing.get_secret_value() if signing else None)


@router.patch("/targets/{target_id}", summary="Pause or resume a target", responses={**_FAULTS})
async def change_target(
    target_id: TargetPath, wanted: TargetChange, account: CurrentAccount, parts: PartsOfRequest
) -> rpc.TargetFacts:
    """What waits while it is paused is sent when it is used again."""
    asked = rpc.SetTargetState(owner=account.user_id, target_id=target_id, state=wanted.state)
    return await parts.rpc.ask(rpc.SET_TARGET_STATE, asked)


@router.post("/targets/{target_id}/signing-secret", summary="Rotate a signing secret", responses={**_FAULTS})
async def rotate_signing_secret(
    target_id: TargetPath, wanted: NewSigningSecret, account: CurrentAccount, parts: PartsOfRequest
) -> TargetMade:
    """Sign with another secret. The old one signs as well for `overlap_seconds`, so that no receiver misses any.

    The present secret again changes nothing.
    """
    signing = wanted.signing_secret or new_signing_secret()
    key = await parts.rpc.ask(rpc.NOTIFY_KEY, VaultKeyQuery())
    asked = rpc.RotateSigning(
        owner=account.user_id,
        target_id=target_id,
        sealed_signing=_sealed(signing, account.user_id, target_id, rpc.SIGNING_NAME, key),
        key_id=key.key_id,
        overlap_seconds=wanted.overlap_seconds,
    )
    target = await parts.rpc.ask(rpc.ROTATE_SIGNING, asked)
    return TargetMade(target=target, signing_secret=signing.get_secret_value())


@router.post("/targets/{target_id}/test", summary="Test a target", responses={**_FAULTS})
async def test_target(target_id: TargetPath, account: CurrentAccount, parts: PartsOfRequest) -> rpc.DeliveryFacts:
    """Send it one message now and tell what came of it. It is not tried again."""
    return await parts.rpc.ask(rpc.TEST_TARGET, rpc.TargetQuery(owner=account.user_id, target_id=target_id))


@router.delete("/targets/{target_id}", summary="Remove a target", responses={**_FAULTS})
async def remove_target(target_id: TargetPath, account: CurrentAccount, parts: PartsOfRequest) -> rpc.TargetList:
    """Delete it with its secrets, its rules and its deliveries. Answers with what is left."""
    return await parts.rpc.ask(rpc.REMOVE_TARGET, rpc.TargetQuery(owner=account.user_id, target_id=target_id))


@router.get("/rules", summary="List notification rules")
async def list_rules(account: CurrentAccount, parts: PartsOfRequest) -> rpc.RuleList:
    """Of what your targets are told."""
    return await parts.rpc.ask(rpc.RULES, rpc.OwnerQuery(owner=account.user_id))


@router.post("/rules", status_code=201, summary="Add a notification rule", responses={**_FAULTS})
async def add_rule(wanted: NewRule, account: CurrentAccount, parts: PartsOfRequest) -> rpc.RuleFacts:
    """Tell a target of these events from now on. The same rule again is that rule."""
    return await parts.rpc.ask(rpc.ADD_RULE, rpc.AddRule(owner=account.user_id, **wanted.model_dump()))


@router.delete("/rules/{rule_id}", summary="Remove a notification rule", responses={**_FAULTS})
async def remove_rule(rule_id: RulePath, account: CurrentAccount, parts: PartsOfRequest) -> rpc.RuleList:
    """Answers with what is left."""
    return await parts.rpc.ask(rpc.REMOVE_RULE, rpc.RuleQuery(owner=account.user_id, rule_id=rule_id))


@router.get("/deliveries", summary="List deliveries", responses={**INVALID})
async def list_deliveries(
    account: CurrentAccount, parts: PartsOfRequest, wanted: Annotated[DeliveryFilter, Query()]
) -> rpc.DeliveryList:
    """What was sent, newest first, with every attempt."""
    return await parts.rpc.ask(rpc.DELIVERIES, rpc.DeliveriesQuery(owner=account.user_id, **wanted.model_dump()))


@router.post("/deliveries/{delivery_id}/resend", summary="Send a delivery again", responses={**_FAULTS})
async def resend(delivery_id: DeliveryPath, account: CurrentAccount, parts: PartsOfRequest) -> rpc.DeliveryFacts:
    """Under the same id, so that a receiver can tell that it had it."""
    return await parts.rpc.ask(rpc.REDELIVER, rpc.DeliveryQuery(owner=account.user_id, delivery_id=delivery_id))


def _sealed(value: SecretStr, owner: str, target_id: str, what: str, key: VaultKey) -> str:
    return seal(value, owner=owner, name=rpc.box_name(target_id, what), public_key=key.public_key)
