"""docs/lifecycle.md is what the tables say."""

import pytest

from stoker_deployer.jobs.policy import Policy
from stoker_deployer.jobs.watchdogs import WATCHDOGS
from stoker_shared.job_state import TRANSITIONS, EndReason
from tools.lifecycle import DOCUMENT, diagram, reasons, with_parts


def test_the_checked_in_document_is_what_the_tables_say() -> None:
    text = DOCUMENT.read_text()
    assert with_parts(text) == text, "run python -m tools.lifecycle and commit docs/lifecycle.md"


def test_every_transition_and_every_reason_is_in_it() -> None:
    arrows = {line.strip() for line in diagram().splitlines()}
    assert {f"{one} --> {other}" for one, following in TRANSITIONS.items() for other in following} <= arrows
    assert all(f"| `{reason}` |" in reasons() for reason in EndReason)


def test_a_changed_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = DOCUMENT.read_text()
    monkeypatch.setitem(TRANSITIONS, next(iter(TRANSITIONS)), frozenset())
    assert with_parts(text) != text


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="diagram"):
        with_parts("# A job's life")


def test_each_watchdog_has_a_threshold_in_the_policy() -> None:
    assert {watchdog.patience for watchdog in WATCHDOGS} <= set(Policy.__dataclass_fields__)
