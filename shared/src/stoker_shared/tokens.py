"""Bearer tokens: 32 random bytes in base64url. Only the SHA-256 is ever stored."""

import hashlib
import hmac
import re
import secrets

from pydantic import SecretStr

TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_IN_QUERY = re.compile(r"([?&](?:token|ticket|key)=)[^&\s\"']+", re.IGNORECASE)
_IN_HEADER = re.compile(r"(Bearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_API_KEY = re.compile(r"stk_[A-Za-z0-9_-]{8,}")
# Whatever is as long as a token may be one, wherever it stands.
_BARE = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
_IN_ADDRESS = re.compile(r"(://[^:/@\s]*:)[^@/\s]+(?=@)")


def mint_token() -> SecretStr:
    """A new token. Hand it over once, store `token_hash` of it."""
    return SecretStr(secrets.token_urlsafe(TOKEN_BYTES))


def token_hash(token: SecretStr | str) -> str:
    """The SHA-256 in hex, the only form of a token that may be stored or compared."""
    plain = token.get_secret_value() if isinstance(token, SecretStr) else token
    return hashlib.sha256(plain.encode()).hexdigest()


def is_token_shaped(text: str) -> bool:
    """Whether `text` can be a token of ours at all; spares the database from nonsense."""
    return bool(_TOKEN.fullmatch(text))


def hashes_equal(left: str, right: str) -> bool:
    """Compare two hashes in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())


def mask_tokens(text: str) -> str:
    """Hide every token and every password of an address in a line that is about to be logged."""
    for pattern in (_IN_QUERY, _IN_HEADER, _IN_ADDRESS):
        text = pattern.sub(r"\1***", text)
    return _BARE.sub("***", _API_KEY.sub("stk_***", text))
