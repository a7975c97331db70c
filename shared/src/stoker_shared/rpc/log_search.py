"""Searching a job's log."""

from pydantic import Field

from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Message
from stoker_shared.rpc.contract import Rpc
from stoker_shared.rpc.metrics import SERVICE, Line

MOST_MATCHES = 1_000
MOST_PATTERN = 500


class LogSearchQuery(Message):
    """Ask for lines that contain a text or match an expression; `attempt` None means the latest that has any lines."""

    owner: str
    job_id: Identifier
    attempt: int | None = Field(default=None, ge=1)
    pattern: str = Field(min_length=1, max_length=MOST_PATTERN)
    is_expression: bool = False
    ignores_case: bool = True
    after_sequence: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=MOST_MATCHES)


class Match(Message):
    """A line that was found. `spans` are where: begin and end, counted in characters."""

    line: Line
    spans: list[tuple[int, int]]


class LogMatches(Message):
    """Lines in order. Searching is bounded in time: ask on with `after_sequence` = `searched_to` until `is_end`."""

    attempt: int
    matches: list[Match]
    searched_to: int
    is_end: bool


LOG_SEARCH = Rpc(SERVICE, "search", LogSearchQuery, LogMatches, callers=("api",))

SEARCHES = (LOG_SEARCH,)
