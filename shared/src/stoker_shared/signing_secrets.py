"""Secrets that sign webhooks, in the form of the Standard Webhooks specification."""

import base64
import secrets

from pydantic import SecretStr

PREFIX = "whsec_"
_BYTES = 32


def new_signing_secret() -> SecretStr:
    """A fresh secret: `whsec_` and 32 random bytes in base64."""
    return SecretStr(PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode())
