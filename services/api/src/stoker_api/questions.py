"""Numbers that questions carry. Each is bounded: what no row can have is answered 422."""

from typing import Annotated

from fastapi import Query

from stoker_shared.rpc.metrics import MOST_STEPS

MOST_ATTEMPTS = 2**31 - 1
"""Attempts are numbered in integers of PostgreSQL."""

HIGHEST = MOST_STEPS
"""No sequence, place or offset is higher either."""

Attempt = Annotated[int | None, Query(ge=1, le=MOST_ATTEMPTS, description="The latest that has any, unless given")]
After = Annotated[int, Query(ge=0, le=HIGHEST, description="Only those with a higher sequence")]
