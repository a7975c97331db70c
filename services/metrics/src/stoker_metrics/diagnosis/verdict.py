"""From what is known to ranked causes. Pure rules."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from stoker_metrics.diagnosis.cause import HINT, Cause
from stoker_metrics.diagnosis.causes import CAUSES
from stoker_metrics.diagnosis.evidence import Known
from stoker_shared.rpc.diagnosis import UNKNOWN, Evidence, Finding

LEAST_CONFIDENCE = 0.5
# A cause that is less sure than this takes no other along as its consequence.
_ROOT_CONFIDENCE = 0.7
# What the exit report or the deployer itself says ended the attempt; log lines may have been about something else.
_FIRST_HAND = 0.03
_SURVIVED = re.compile(r"\b([Rr]etrying|[Tt]rying again|[Tt]ried again|[Ww]ill (re)?try|tries left)\b")
_SURVIVED_FACTOR = 0.6
_MOST_EVIDENCE = 5
_LAST_ERRORS = 20
_ERROR = re.compile(r"error|exception|traceback|fatal|fail|abort|killed|panic", re.IGNORECASE)

_COMPILED = [(cause, cause.compiled()) for cause in CAUSES]


@dataclass(slots=True)
class _Suspicion:
    cause: Cause
    confidence: float = 0.0
    doubt: float = 1.0
    evidence: list[Evidence] = field(default_factory=list)

    def add(self, evidence: Evidence, confidence: float) -> None:
        """Count what a statement is worth; weak traces add up, strong ones do not."""
        if confidence < HINT:
            self.doubt *= 1 - confidence
            confidence = 1 - self.doubt
        self.confidence = max(self.confidence, confidence)
        self.evidence.append(evidence)


def findings_of(known: Known) -> list[Finding]:
    """Causes, the root first. Empty if nothing matched."""
    suspicions = _suspicions(known)
    return [_finding(suspicion) for suspicion in sorted(suspicions, key=lambda one: _rank(one, suspicions))]


def unknown(known: Known) -> Finding:
    """What is said when nothing matched."""
    ending = known.reason.ending if known.reason else None
    return Finding(
        cause=UNKNOWN,
        confidence=0,
        summary=f"The cause is not known. {ending.message if ending else ''}".strip(),
        advice="Read the last error lines; nothing in them is a cause that is known here.",
    )


def last_errors(known: Known) -> list[Evidence]:
    """The last lines that speak of an error, in order; the last lines at all if none does."""
    said = list(known.statements())
    return [one for one in said if _ERROR.search(one.text)][-_LAST_ERRORS:] or said[-_LAST_ERRORS:]


def _suspicions(known: Known) -> list[_Suspicion]:
    found: dict[str, _Suspicion] = {}
    if known.reason is not None:
        said = Evidence(source="end", text=known.reason.value)
        for cause in (cause for cause in CAUSES if known.reason in cause.reasons):
            found.setdefault(cause.name, _Suspicion(cause)).add(said, cause.reasons[known.reason] + _FIRST_HAND)
    for statement in known.statements():
        factor = _SURVIVED_FACTOR if _SURVIVED.search(statement.text) else 1.0
        bonus = _FIRST_HAND if statement.source in ("exit", "end") else 0.0
        for cause, patterns in _COMPILED:
            worth = next((worth for pattern, worth in patterns if pattern.search(statement.text)), None)
            if worth is not None:
                found.setdefault(cause.name, _Suspicion(cause)).add(statement, worth * factor + bonus)
    return [suspicion for suspicion in found.values() if suspicion.confidence >= LEAST_CONFIDENCE]


def _rank(suspicion: _Suspicion, all_of_them: Sequence[_Suspicion]) -> tuple[bool, float, int]:
    position = next(number for number, cause in enumerate(CAUSES) if cause is suspicion.cause)
    return _follows_from_another(suspicion, all_of_them), -round(suspicion.confidence, 2), position


def _follows_from_another(suspicion: _Suspicion, all_of_them: Sequence[_Suspicion]) -> bool:
    others = [one for one in all_of_them if one is not suspicion]
    if "*" in suspicion.cause.follows:
        return any("*" not in one.cause.follows for one in others)
    return any(one.cause.name in suspicion.cause.follows and one.confidence >= _ROOT_CONFIDENCE for one in others)


def _finding(suspicion: _Suspicion) -> Finding:
    cause = suspicion.cause
    return Finding(
        cause=cause.name,
        confidence=round(min(suspicion.confidence, 0.99), 2),
        summary=cause.summary,
        advice=cause.advice,
        changes=list(cause.changes),
        evidence=_most_telling(suspicion.evidence),
    )


def _most_telling(evidence: Sequence[Evidence]) -> list[Evidence]:
    """The first ones, and the very last: where it began and how it ended."""
    if len(evidence) <= _MOST_EVIDENCE:
        return list(evidence)
    return [*evidence[: _MOST_EVIDENCE - 1], evidence[-1]]
