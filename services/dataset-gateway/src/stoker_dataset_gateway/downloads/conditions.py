"""Conditional requests and content negotiation, as RFC 9110 has them, for a file that never changes."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Literal

from starlette.datastructures import Headers

Verdict = Literal["serve", "not_modified", "failed"]

_TAG = re.compile(r'(W/)?"([^"]*)"')
_WORTHWHILE = re.compile(r".+\.(jsonl|ndjson|json|csv|tsv|txt|md|log|ya?ml)", re.IGNORECASE | re.DOTALL)
_LEAST_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one content from another. `modified` is when the file was stored; None if nobody knows."""

    sha256: str
    modified: datetime | None

    @property
    def etag(self) -> str:
        """Strong: the same bytes, always."""
        return f'"{self.sha256}"'

    @property
    def gzip_etag(self) -> str:
        """Weak: another zlib packs the same content into other bytes, so nobody may resume with it."""
        return f'W/"{self.sha256}-gzip"'

    @property
    def last_modified(self) -> str | None:
        """The Last-Modified header."""
        return format_datetime(self.modified.astimezone(UTC), usegmt=True) if self.modified else None


def verdict(headers: Headers, validators: Validators) -> Verdict:
    """What the preconditions of a GET or HEAD say, in the order of RFC 9110, 13.2.2."""
    must_match, must_differ = headers.get("if-match"), headers.get("if-none-match")
    if must_match is not None:
        strong = [tag for weak, tag in _TAG.findall(must_match) if not weak]
        if must_match.strip() != "*" and validators.sha256 not in strong:
            return "failed"
    if must_differ is not None:
        tags = {tag for _, tag in _TAG.findall(must_differ)}
        known = {validators.sha256, f"{validators.sha256}-gzip"}
        return "not_modified" if must_differ.strip() == "*" or tags & known else "serve"
    since = _date(headers.get("if-modified-since"))
    if since is not None and validators.modified is not None and _whole_second(validators.modified) <= since:
        return "not_modified"
    return "serve"


def is_range_valid(if_range: str | None, validators: Validators) -> bool:
    """Whether the client's part belongs to this very file; only a strong ETag or the exact date says so."""
    if if_range is None or if_range.strip() == validators.etag:
        return True
    date = _date(if_range)
    return date is not None and validators.modified is not None and date == _whole_second(validators.modified)


def is_compressible(filename: str, size_bytes: int) -> bool:
    """Whether gzip would make the file smaller on the wire: text, and not compressed already."""
    return size_bytes >= _LEAST_BYTES and _WORTHWHILE.fullmatch(filename) is not None


def wants_gzip(accept_encoding: str | None) -> bool:
    """Whether the client asks for gzip, and not more for the bytes as they are."""
    weights = dict(map(_weighted, (accept_encoding or "").split(",")))
    gzip = max(weights.get("gzip", 0.0), weights.get("x-gzip", 0.0))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _weighted(item: str) -> tuple[str, float]:
    name, _, parameters = item.partition(";")
    found = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", parameters, re.IGNORECASE)
    is_plain = not parameters.strip()
    return name.strip().lower(), 1.0 if is_plain else min(float(found.group(1)), 1.0) if found else 0.0


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):  # whatever else the client wrote there
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _whole_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
