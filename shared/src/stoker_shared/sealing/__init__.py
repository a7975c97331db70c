"""Sealed boxes: anybody with the public key seals, only the holder of the private key opens."""

from stoker_shared.sealing.boxes import StoredBox, decoded_key, key_id_of, open_sealed, public_half, seal
from stoker_shared.sealing.errors import (
    SealedBoxUnreadable,
    SealingKeyInvalid,
    SealingKeysClosed,
    SealingKeyUnknown,
)

__all__ = [
    "SealedBoxUnreadable",
    "SealingKeyInvalid",
    "SealingKeyUnknown",
    "SealingKeysClosed",
    "StoredBox",
    "decoded_key",
    "key_id_of",
    "open_sealed",
    "public_half",
    "seal",
]
