"""Identifiers. Each is `<kind>-<16 hex digits>`: free of dots, so it can be a token of a NATS subject."""

import re
import secrets
from typing import Annotated, NewType

from pydantic import StringConstraints

JobId = NewType("JobId", str)
UserId = NewType("UserId", str)
PlanId = NewType("PlanId", str)
RecipeId = NewType("RecipeId", str)
DatasetVersionId = NewType("DatasetVersionId", str)
ArtifactId = NewType("ArtifactId", str)
UploadId = NewType("UploadId", str)

IDENTIFIER_PATTERN = r"^[a-z]+-[0-9a-f]{16}$"

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]

_IDENTIFIER = re.compile(IDENTIFIER_PATTERN)


def new_identifier(kind: str) -> str:
    """A fresh identifier of 64 random bits, for example `job-0b5c1f2e9a7d4c33`."""
    return f"{kind}-{secrets.token_hex(8)}"


def is_identifier(text: str, kind: str) -> bool:
    """Whether `text` is an identifier of that kind. Check what comes from outside before it enters a subject."""
    return bool(_IDENTIFIER.fullmatch(text)) and text.startswith(f"{kind}-")
