"""Headers of the Standard Webhooks specification: id, time of this attempt, one signature for each valid secret."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime

from pydantic import SecretStr
from standardwebhooks import Webhook

from stoker_metrics.notifications.errors import SigningSecretInvalid
from stoker_shared.signing_secrets import PREFIX

_BYTES = range(24, 65)


def demand_signing_secret(secret: SecretStr) -> None:
    """Raise if it is none.

    Raises:
        SigningSecretInvalid: not `whsec_` and 24 to 64 bytes in base64.
    """
    value = secret.get_secret_value()
    if not value.startswith(PREFIX):
        raise SigningSecretInvalid
    try:
        length = len(base64.b64decode(value.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        raise SigningSecretInvalid from None
    if length not in _BYTES:
        raise SigningSecretInvalid


def signed_headers(body: bytes, *, message_id: str, at: datetime, signing: Sequence[SecretStr]) -> dict[str, str]:
    """The three headers; while a secret is being rotated with both signatures, the newer first."""
    # The library drops the zone of the moment: it must be UTC.
    signatures = [
        Webhook(secret.get_secret_value()).sign(msg_id=message_id, timestamp=at, data=body.decode())
        for secret in signing
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
