"""Finding what should not be trained on: e-mail addresses, secrets of known shapes, private keys."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.rules import FaultCode


@dataclass(frozen=True, slots=True)
class Pattern:
    """In every match stands one of `triggers`: looking for these first is what makes the search cheap."""

    code: FaultCode
    kind: str
    triggers: tuple[str, ...]
    expression: re.Pattern[str]


def _secret(kind: str, triggers: tuple[str, ...], expression: str) -> Pattern:
    return Pattern(FaultCode.SECRET, kind, triggers, re.compile(rf"(?<![A-Za-z0-9_-]){expression}"))


PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        FaultCode.EMAIL_ADDRESS,
        "an e-mail address",
        ("@",),
        # Bounded, so that no text makes it slow.
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])", re.ASCII),
    ),
    Pattern(
        FaultCode.PRIVATE_KEY, "a private key", ("-----BEGIN ",), re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY")
    ),
    _secret("an AWS access key", ("AKIA",), r"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    _secret("a temporary AWS access key", ("ASIA",), r"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    _secret("a GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{36}"),
    _secret("a GitHub token", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{40}"),
    _secret("a GitLab token", ("glpat-",), r"glpat-[A-Za-z0-9_-]{20}"),
    _secret("an OpenAI or Anthropic key", ("sk-",), r"sk-(?:[a-z0-9]{2,8}-){0,2}[A-Za-z0-9_-]{20}"),
    _secret("a Stripe key", ("k_live_",), r"[rs]k_live_[A-Za-z0-9]{20}"),
    _secret("a Slack token", ("xox",), r"xox[abeoprs]-[A-Za-z0-9-]{10}"),
    _secret("a Google API key", ("AIza",), r"AIza[A-Za-z0-9_-]{35}"),
    _secret("a Hugging Face token", ("hf_",), r"hf_[A-Za-z0-9]{30}"),
    _secret("an npm token", ("npm_",), r"npm_[A-Za-z0-9]{36}"),
    _secret("a JSON web token", ("eyJ",), r"eyJ[A-Za-z0-9_-]{10,500}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10}"),
)
"""What is looked for, by its own shape alone: no guess from the words around it."""

# Each begins with one plain byte, which is what makes the search of a whole block quick: most are not there. The last
# is for letters that need no escape and have one: it may hide any of the others.
_HINTS: tuple[tuple[bytes, re.Pattern[bytes]], ...] = (
    (b"@", re.compile(rb"@(?<=[\w.+-]@)(?=[A-Za-z0-9-]{1,63}\.)")),
    (b"-", re.compile(rb"-(?:(?<=sk-)(?=[\w-]{20})|(?<=glpat-)|(?<=xox[abeoprs]-)|(?<=-----)BEGIN )")),
    (b"_", re.compile(rb"_(?:(?<=gh[pousr]_)|(?<=github_)pat_|(?<=k_)live_|(?<=hf_)|(?<=npm_))")),
    (b"I", re.compile(rb"I(?:(?<=A[KS]I)A|(?<=AI)za)")),
    (b"J", re.compile(rb"J(?<=eyJ)")),
    (b"\\", re.compile(rb"\\(?=u00[2-7])")),
)


def hints_in(block: bytes) -> list[re.Pattern[bytes]]:
    """What hints at private data in JSON text; a row in which none of it is found needs no closer look."""
    return [hint for first, hint in _HINTS if first in block and hint.search(block)]


def needs_look(row: bytes, hints: list[re.Pattern[bytes]]) -> bool:
    """Whether one of the hints of its block is in the row."""
    return any(hint.search(row) for hint in hints)


def find_private(texts: Iterable[tuple[str, str]]) -> Iterator[RowFaulty]:
    """Warnings for the texts of a row, with their places; each code once a row."""
    seen: set[FaultCode] = set()
    for place, text in texts:
        for pattern in PATTERNS:
            if pattern.code in seen or not any(trigger in text for trigger in pattern.triggers):
                continue
            match = pattern.expression.search(text)
            if match is not None:
                seen.add(pattern.code)
                yield RowFaulty(pattern.code, column=place, kind=pattern.kind, found=masked(match.group()))


def masked(found: str) -> str:
    """Enough to find it by, too little to use it: the report is read by others than the file."""
    name, at, domain = found.partition("@")
    return f"{name[:1]}***{at}{domain}" if at else f"{found[:6]}***"
