"""How well the table of causes reads real failures: those that patterns may follow, and those held out."""

from collections.abc import Sequence

import pytest

from stoker_metrics.diagnosis.causes import CAUSES
from stoker_metrics.diagnosis.verdict import findings_of
from stoker_shared.rpc.diagnosis import UNKNOWN
from tests.corpus.diagnosis.cases import HELD_OUT, SHOWN, WENT_WELL, Case, cases

NAMES = {cause.name for cause in CAUSES} | {UNKNOWN}


def verdict_of(case: Case) -> str:
    findings = findings_of(case.known())
    return findings[0].cause if findings else UNKNOWN


def scores(chosen: Sequence[Case]) -> tuple[float, float, list[str]]:
    """Precision (of the verdicts given, how many are right), recall (of the failures, how many are told), misses."""
    told = [(case, verdict_of(case)) for case in chosen]
    given = [(case, verdict) for case, verdict in told if verdict != UNKNOWN]
    right = [case for case, verdict in given if verdict == case.verdict]
    known = [case for case in chosen if case.verdict != UNKNOWN]
    misses = [f"{case.name}: {verdict}, not {case.verdict}" for case, verdict in told if verdict != case.verdict]
    return len(right) / len(given), len(right) / len(known), misses


@pytest.mark.parametrize("case", cases(*SHOWN), ids=lambda case: case.name)
def test_each_shown_failure_gets_its_verdict(case: Case) -> None:
    assert verdict_of(case) == case.verdict, "\n".join(case.lines[-10:])


def test_held_out_failures_are_read_nearly_as_well() -> None:
    precision, recall, misses = scores(cases(*HELD_OUT))
    assert precision >= 0.90, misses
    assert recall >= 0.85, misses


@pytest.mark.parametrize("case", cases(*WENT_WELL), ids=lambda case: case.name)
def test_a_run_that_went_well_gets_no_verdict(case: Case) -> None:
    assert findings_of(case.known()) == []


def test_the_corpus_is_large_enough_and_a_quarter_is_held_out() -> None:
    shown, held_out = cases(*SHOWN), cases(*HELD_OUT)
    assert len(shown) + len(held_out) >= 80
    assert 0.25 <= len(held_out) / (len(shown) + len(held_out)) <= 0.45
    assert len({case.name for case in shown + held_out}) == len(shown) + len(held_out)


def test_every_case_names_a_known_cause_and_where_it_is_from() -> None:
    for case in cases(*SHOWN, *HELD_OUT):
        assert case.verdict in NAMES
        assert case.origin == "provoked" or case.origin.startswith("https://github.com/")
        assert case.lines
