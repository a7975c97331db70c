"""Which lines match, and where. Pure, but for the time that it may take."""

from collections.abc import Callable, Iterable

import regex

from stoker_metrics.errors import PatternRefused
from stoker_shared.rpc.log_search import LogSearchQuery, Match
from stoker_shared.rpc.metrics import Line

MOST_SPANS = 50
"""Of one line."""

LINE_SECONDS = 0.25
"""Of one line; a line has 8,000 characters at most, so what takes longer is the expression's fault."""


def pattern_of(query: LogSearchQuery) -> "regex.Pattern[str]":
    """What is searched for.

    Raises:
        PatternRefused: the expression is wrong.
    """
    text = query.pattern if query.is_expression else regex.escape(query.pattern)
    try:
        return regex.compile(text, regex.IGNORECASE if query.ignores_case else 0)
    except regex.error as error:
        raise PatternRefused(str(error)) from None


def matches_in(
    lines: Iterable[Line], pattern: "regex.Pattern[str]", *, limit: int, is_over: Callable[[], bool]
) -> tuple[list[Match], int]:
    """Lines that match, until there are `limit` or the time is over; and the sequence up to which lines were looked at.

    Raises:
        PatternRefused: the expression takes too long on one line.
    """
    found: list[Match] = []
    searched_to = 0
    for line in lines:
        spans = _spans(pattern, line.text)
        searched_to = line.sequence
        if spans:
            found.append(Match(line=line, spans=spans))
        if len(found) >= limit or is_over():
            break
    return found, searched_to


def _spans(pattern: "regex.Pattern[str]", text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    try:
        # concurrent: other threads go on meanwhile.
        for match in pattern.finditer(text, concurrent=True, timeout=LINE_SECONDS):
            spans.append(match.span())
            if len(spans) >= MOST_SPANS:
                break
    except TimeoutError:
        raise PatternRefused(f"it takes longer than {LINE_SECONDS} s on one line") from None
    return spans
