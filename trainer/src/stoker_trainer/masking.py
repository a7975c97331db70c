"""Keeping secrets out of everything that is printed or sent."""

import re
from collections.abc import Iterable

MASK = "***"
_TOKEN_PARAMETER = re.compile(r"(?i)([?&]token=)[^&\s\"'<>]+")
_BEARER = re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}")


class Masker:
    """Replaces known secrets, `token=` parameters and bearer values by ***."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        # Longest first: a secret may contain another one.
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _BEARER.sub(rf"\1{MASK}", _TOKEN_PARAMETER.sub(rf"\1{MASK}", text))
