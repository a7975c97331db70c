"""The life of a job, walked pair by pair."""

from itertools import product

import pytest

from stoker_shared.job_state import ENDINGS, MACHINE_STATUSES, TERMINAL, TRANSITIONS, EndReason, JobStatus, may_follow

S = JobStatus

# The order in which a job passes its statuses; a report that overtakes others may skip some, never go back.
ORDER = [S.PROVISIONING, S.STARTING, S.PREPARING, S.TRAINING, S.SAVING, S.TERMINATING]


def expected(current: JobStatus, following: JobStatus) -> bool:
    if current is S.QUEUED:
        return following in {S.PROVISIONING, S.CANCELLED, S.FAILED}
    if current is S.TERMINATING:
        return following in {S.QUEUED, *TERMINAL}
    if current in TERMINAL:
        return False
    return following in ORDER[ORDER.index(current) + 1 :]


@pytest.mark.parametrize(("current", "following"), list(product(JobStatus, JobStatus)))
def test_every_pair_is_allowed_or_refused_as_the_rules_say(current: JobStatus, following: JobStatus) -> None:
    assert may_follow(current, following) is expected(current, following)


def test_every_status_has_an_entry() -> None:
    assert TRANSITIONS.keys() == set(JobStatus)


def test_terminal_statuses_are_those_that_nothing_follows() -> None:
    assert {status for status, following in TRANSITIONS.items() if not following} == set(TERMINAL)
    assert {status for status in JobStatus if status.is_terminal} == set(TERMINAL)


@pytest.mark.parametrize("status", [status for status in JobStatus if not status.is_terminal])
def test_every_status_can_reach_every_end(status: JobStatus) -> None:
    assert reachable(status, without=frozenset()) >= TERMINAL


@pytest.mark.parametrize("status", sorted(MACHINE_STATUSES - {S.TERMINATING}))
def test_no_status_with_a_machine_ends_without_terminating(status: JobStatus) -> None:
    without_terminating = reachable(status, without=frozenset({S.TERMINATING}))
    assert without_terminating.isdisjoint(TERMINAL)
    assert S.QUEUED not in without_terminating


def test_only_statuses_between_queue_and_end_may_own_a_machine() -> None:
    assert {status for status in JobStatus if status.may_own_machine} == set(JobStatus) - TERMINAL - {S.QUEUED}


@pytest.mark.parametrize("reason", EndReason)
def test_every_reason_says_what_it_means_and_what_to_do(reason: EndReason) -> None:
    ending = reason.ending
    assert ending.status in TERMINAL
    assert ending.message.endswith(".")
    assert ending.advice.endswith(".")


def test_there_is_no_ending_without_a_reason() -> None:
    assert ENDINGS.keys() == set(EndReason)


def test_only_failures_are_tried_again() -> None:
    assert {reason.ending.status for reason in EndReason if reason.ending.is_retryable} == {S.FAILED}


def test_few_ways_lead_to_a_model_and_one_to_a_cancelled_job() -> None:
    completed = [EndReason.SUCCESS, EndReason.BUDGET_LANDED, EndReason.DURATION_LANDED]
    assert [r for r in EndReason if r.ending.status is S.COMPLETED] == completed
    assert [r for r in EndReason if r.ending.status is S.CANCELLED] == [EndReason.CANCELLED_BY_USER]


def reachable(start: JobStatus, *, without: frozenset[JobStatus]) -> set[JobStatus]:
    seen: set[JobStatus] = set()
    waiting = [start]
    while waiting:
        fresh = TRANSITIONS[waiting.pop()] - seen - without
        seen |= fresh
        waiting += fresh
    return seen
