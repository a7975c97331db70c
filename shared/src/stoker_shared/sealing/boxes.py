"""Sealed boxes (libsodium): anybody with the public key seals, only the holder of the private key opens."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from pydantic import SecretStr

from stoker_shared.sealing.errors import KEY_BYTES, SealedBoxUnreadable, SealingKeyInvalid

_KEY_ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class StoredBox:
    """A box as a row keeps it: whose and what it is, and the key that it was sealed with."""

    owner: str
    name: str
    key_id: str
    sealed: str = field(repr=False)


def seal(secret: SecretStr, *, owner: str, name: str, public_key: str) -> str:
    """A box in base64 with the secret, and whose and what it is. `public_key` in base64.

    Raises:
        SealingKeyInvalid: the key has another form.
    """
    content = {"owner": owner, "name": name, "value": secret.get_secret_value()}
    box = SealedBox(PublicKey(decoded_key(public_key))).encrypt(json.dumps(content).encode())
    return base64.b64encode(box).decode()


def open_sealed(sealed: str, *, owner: str, name: str, private_key: PrivateKey) -> SecretStr:
    """What is in a box of this owner and name.

    Raises:
        SealedBoxUnreadable: sealed for another key, damaged, or not theirs.
    """
    try:
        content = json.loads(SealedBox(private_key).decrypt(base64.b64decode(sealed, validate=True)))
        is_theirs = (content["owner"], content["name"]) == (owner, name)
        value = str(content["value"])
    except (CryptoError, ValueError, KeyError, TypeError):
        # Without the cause: its words and its frames may hold what was in the box.
        raise _unreadable(name) from None
    if not is_theirs:
        raise _unreadable(name)
    return SecretStr(value)


def key_id_of(public_key: str) -> str:
    """The short name of a key pair, from its public half."""
    return hashlib.sha256(decoded_key(public_key)).hexdigest()[:_KEY_ID_LENGTH]


def public_half(private_key: PrivateKey) -> str:
    """The public key in base64."""
    return base64.b64encode(bytes(private_key.public_key)).decode()


def decoded_key(text: str) -> bytes:
    """The bytes of a key in base64.

    Raises:
        SealingKeyInvalid: it has another form.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise SealingKeyInvalid from None
    if len(key) != KEY_BYTES:
        raise SealingKeyInvalid
    return key


def _unreadable(name: str) -> SealedBoxUnreadable:
    return SealedBoxUnreadable(f"The sealed secret {name!r} cannot be opened.", next_step="Set the secret again.")
