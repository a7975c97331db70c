"""The log as one text, and what it is searched for."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query

from stoker_api.questions import After, Attempt
from stoker_shared.bus import RpcClient
from stoker_shared.rpc.log_search import MOST_MATCHES, MOST_PATTERN, LogSearchQuery
from stoker_shared.rpc.metrics import LINES, Line, Lines, LinesNotKept, LinesQuery

MOST_LINES = 10_000

_CAP = {"lines": "the most lines that are kept of a job", "bytes": "the most bytes that are kept of a job"}


class SearchWanted:
    """What is searched for."""

    def __init__(
        self,
        q: Annotated[str, Query(min_length=1, max_length=MOST_PATTERN, description="A text, or an expression")],
        *,
        expression: Annotated[bool, Query(description="`q` is a regular expression")] = False,
        case: Annotated[bool, Query(description="Upper and lower case differ")] = False,
        attempt: Attempt = None,
        after: After = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_MATCHES)] = 100,
    ) -> None:
        self._values = {
            "pattern": q,
            "is_expression": expression,
            "ignores_case": not case,
            "attempt": attempt,
            "after_sequence": after,
            "limit": limit,
        }

    def query(self, owner: str, job_id: str) -> LogSearchQuery:
        """As the metrics service is asked."""
        return LogSearchQuery.model_validate({"owner": owner, "job_id": job_id, **self._values})


async def whole_log(rpc: RpcClient, question: LinesQuery, page: Lines) -> AsyncIterator[bytes]:
    """All pages from a first one on, as text, with what is not kept said at the end.

    A peer that goes away in the middle ends the stream short of its last chunk, which a client sees as broken off.
    """
    while page.lines:
        yield "".join(f"{_one_line(line)}\n" for line in page.lines).encode()
        more = {"after_sequence": page.lines[-1].sequence, "attempt": page.attempt}
        page = await rpc.ask(LINES, question.model_copy(update=more))
    if page.not_kept is not None:
        yield f"{cap_note(page.not_kept)}\n".encode()


def cap_note(not_kept: LinesNotKept) -> str:
    """What a reader is told where the log ends."""
    return (
        f"[capped after line {not_kept.after_sequence:,}, {_CAP[not_kept.capped_by]}: "
        f"{not_kept.lines:,} lines not kept]"
    )


def _one_line(line: Line) -> str:
    return line.text.rstrip("\n")
