"""Another attempt or the end: the table of causes, the walk over the offers, cool-downs, breaker and refit."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_deployer.jobs.steps import BeginAttempt, EndAttempt, EndQueued, Wait
from stoker_deployer.jobs.tables import Attempt
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import Sight, View
from stoker_deployer.ledger.book import Book
from stoker_deployer.providers import Gone
from stoker_deployer.retrying.breaker import cause_of
from stoker_deployer.retrying.history import Past
from stoker_deployer.retrying.refit import DeviceBatch, fitted
from stoker_deployer.retrying.rules import RETRY
from stoker_deployer.retrying.tables import OfferCooldown, OfferKey, key_of
from stoker_shared.commands import PlannedOffer
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import ONE_USD
from stoker_shared.recipe import Batch, ModelChoice, Recipe
from tests.unit.deployer.rows import HOURLY, JOB, NOW, POLICY, ago, attempt, command, job, view

S, R = JobStatus, EndReason
GIB = 2**30


def offer(gpu_type: str, **changes: Any) -> PlannedOffer:
    fields: dict[str, Any] = {
        "provider": "local",
        "gpu_type": gpu_type,
        "gpu_count": 1,
        "price_micro_usd_per_hour": HOURLY,
    }
    return PlannedOffer(**(fields | changes))


BIG, SMALL, REMOTE = offer("big", vram_bytes=80 * GIB), offer("small", vram_bytes=24 * GIB), offer("big", place="far")
ELSEWHERE = offer("big", provider="other")
OFFERS = [BIG, SMALL, REMOTE]


def past(number: int, reason: EndReason, taken: PlannedOffer = BIG, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "provider": taken.provider,
        "gpu_type": taken.gpu_type,
        "gpu_count": taken.gpu_count,
        "place": taken.place,
        "vram_bytes": taken.vram_bytes,
        "per_device": 4,
        "accumulation": 1,
        "end_reason": reason.value,
        "end_detail": f"{reason.value} it was",
        "billing_started_at": None,
        "ended_at": ago(minutes=1),
    }
    return attempt(number, **(fields | changes))


def queued(*tried: Attempt, offers: list[PlannedOffer] | None = None, **changes: Any) -> View:
    """A job whose attempts have failed so, due for the next."""
    launch = command(offers=offers or OFFERS, **changes.pop("launch", {}))
    row = job(S.QUEUED, launch=launch, attempt=len(tried))
    return view(row, tried[-1] if tried else None, Sight(), earlier=tried[:-1], **changes)


def ended(*tried: Attempt, offers: list[PlannedOffer] | None = None, **changes: Any) -> EndAttempt:
    """What follows the last of these attempts, whose machine is gone."""
    last = tried[-1]
    launch = command(offers=offers or OFFERS, **({"max_attempts": 20} | changes.pop("launch", {})))
    row = job(
        S.TERMINATING,
        launch=launch,
        attempt=len(tried),
        end_reason=last.end_reason,
        end_detail=last.end_detail,
        **changes.pop("row", {}),
    )
    seen = view(row, last, Sight(Gone()), earlier=tried[:-1], **changes)
    step = next_step(replace(seen, snapshot=replace(seen.snapshot, attempt=_refused(last))))
    assert isinstance(step, EndAttempt)
    return step


def _refused(last: Attempt) -> Attempt:
    # Nothing is to be looked for: the rules after an attempt are what these tests are about.
    return Attempt(**{**last.model_dump(), "refused_at": NOW})


def taken(seen: View) -> BeginAttempt:
    step = next_step(seen)
    assert isinstance(step, BeginAttempt)
    return step


def cooling(*offers: PlannedOffer, seconds: float = 60) -> dict[OfferKey, OfferCooldown]:
    until = NOW + timedelta(seconds=seconds)
    rows = [OfferCooldown(**key_of(found)._asdict(), until=until, why="none free") for found in offers]
    return {key_of(row): row for row in rows}


def test_the_table_has_every_cause_that_may_be_tried_again_and_no_other() -> None:
    assert RETRY.keys() == {reason for reason in EndReason if reason.ending.is_retryable}


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason not in RETRY])
def test_a_cause_that_is_not_in_the_table_ends_the_job(reason: EndReason) -> None:
    step = ended(past(1, reason))
    assert (step.status, step.reason, step.retry_at) == (reason.ending.status, reason, None)


@pytest.mark.parametrize("reason", RETRY)
def test_each_cause_in_the_table_is_tried_again_at_least_once(reason: EndReason) -> None:
    step = ended(past(1, reason), offers=[BIG, REMOTE, ELSEWHERE], providers=frozenset({"local", "other"}))
    assert (step.status, step.reason) == (S.QUEUED, reason)
    assert step.retry_at is not None


@pytest.mark.parametrize("reason", RETRY)
def test_no_cause_is_tried_for_ever(reason: EndReason) -> None:
    """Whatever the breaker says, each cause has its own limit."""
    offers = [offer("big", provider=f"p{number}", vram_bytes=80 * GIB) for number in range(40)]
    tried = [past(n + 1, reason, offers[n], end_detail=f"{'x' * n} broke") for n in range(RETRY[reason].most)]
    batch = Recipe(model=ModelChoice(name_or_path="tiny"), batch=Batch(per_device=64))
    step = ended(
        *tried,
        offers=offers,
        providers=frozenset(found.provider for found in offers),
        launch={"max_attempts": 20, "recipe": batch},
        row={"max_attempts": 100},
    )
    assert (step.status, step.reason) == (S.FAILED, reason)


class TestWalk:
    def test_the_first_attempt_takes_the_best_ranked_offer(self) -> None:
        assert taken(queued()).offer == BIG

    def test_a_lost_machine_leads_to_the_next_offer_and_round_again(self) -> None:
        tried: list[Attempt] = []
        walked = []
        for number in range(1, 6):
            step = taken(queued(*tried))
            walked.append(step.offer)
            tried.append(past(number, R.MACHINE_LOST, step.offer))
        assert walked == [BIG, SMALL, REMOTE, BIG, SMALL]

    def test_a_cause_that_no_machine_is_to_blame_for_keeps_the_offer(self) -> None:
        assert taken(queued(past(1, R.TOKEN_REJECTED))).offer == BIG

    def test_an_offer_that_is_cooling_is_passed_over_and_taken_again_later(self) -> None:
        tried = past(1, R.NO_CAPACITY)
        assert taken(queued(tried, cooldowns=cooling(BIG))).offer == SMALL
        assert taken(queued(tried, cooldowns=cooling(BIG, seconds=0))).offer == BIG

    def test_while_all_offers_cool_it_waits_for_the_first(self) -> None:
        known = cooling(BIG, REMOTE) | cooling(SMALL, seconds=20)
        step = next_step(queued(past(1, R.NO_CAPACITY), cooldowns=known))
        assert isinstance(step, Wait)
        assert (step.after, step.postponed_to) == (timedelta(seconds=20), NOW + timedelta(seconds=20))
        assert step.why == "3 of 3 offers are cooling down: none free"

    def test_while_somebody_tries_an_offer_for_all_it_looks_again_soon(self) -> None:
        known = cooling(*OFFERS)
        known[key_of(SMALL)].probe_until = known[key_of(SMALL)].until
        step = next_step(queued(past(1, R.NO_CAPACITY), cooldowns=known))
        assert isinstance(step, Wait)
        assert step.after == POLICY.queued_check

    def test_offers_of_providers_that_are_not_configured_are_passed_over(self) -> None:
        assert taken(queued(offers=[ELSEWHERE, SMALL])).offer == SMALL

    def test_offers_above_the_ceiling_are_not_taken(self) -> None:
        dear = offer("huge", price_micro_usd_per_hour=3 * ONE_USD)
        limit = {"max_price_micro_usd_per_hour": 2 * ONE_USD}
        assert taken(queued(offers=[dear, SMALL], launch=limit)).offer == SMALL

    def test_a_machine_that_costs_more_than_its_offer_said_leads_to_another_offer(self) -> None:
        limit = {"max_price_micro_usd_per_hour": 2 * ONE_USD}
        assert taken(queued(past(1, R.PRICE_ABOVE_CEILING), launch=limit)).offer == SMALL

    def test_when_all_are_above_the_ceiling_it_ends_with_the_numbers(self) -> None:
        step = next_step(queued(launch={"max_price_micro_usd_per_hour": HOURLY // 2}))
        cheapest = "local big at $1.0000, local small at $1.0000, local big at $1.0000"
        text = f"The job may pay $0.5000 per hour; of 3 offers the cheapest are {cheapest}."
        assert step == EndQueued(R.PRICE_ABOVE_CEILING, text)

    def test_an_error_of_the_trainer_is_tried_on_another_offer_only(self) -> None:
        assert taken(queued(past(1, R.TRAINER_ERROR))).offer == SMALL
        step = ended(past(1, R.TRAINER_ERROR), offers=[BIG])
        assert (step.status, step.detail) == (S.FAILED, "trainer_error it was")

    def test_a_provider_that_refuses_us_is_left_for_another(self) -> None:
        both = {"providers": frozenset({"local", "other"}), "offers": [*OFFERS, ELSEWHERE]}
        tried = past(1, R.PROVIDER_FUNDS)
        assert ended(tried, **both).status == S.QUEUED
        assert taken(queued(tried, **both)).offer == ELSEWHERE
        assert ended(tried).status == S.FAILED


class TestLimits:
    def test_refusals_for_lack_of_capacity_are_no_spent_attempts(self) -> None:
        tried = [past(number, R.NO_CAPACITY) for number in range(1, 8)]
        step = ended(*tried, launch={"max_attempts": 1})
        assert (step.status, step.retry_at) == (S.QUEUED, NOW)
        assert ended(*tried, past(8, R.MACHINE_LOST), launch={"max_attempts": 2}).status == S.QUEUED
        over = ended(*tried, past(8, R.MACHINE_LOST), launch={"max_attempts": 1})
        assert (over.status, over.detail) == (S.FAILED, "machine_lost it was Attempt 1 of 1.")

    def test_capacity_has_a_limit_of_its_own(self) -> None:
        step = ended(*(past(number, R.NO_CAPACITY) for number in range(1, 21)))
        assert (step.status, step.reason) == (S.FAILED, R.NO_CAPACITY)
        assert "try 20 of 20" in step.detail

    def test_patience_with_capacity_ends(self) -> None:
        step = ended(past(1, R.NO_CAPACITY), row={"created_at": ago(hours=24)})
        assert step.status == S.FAILED
        assert "waited for 1 day" in step.detail

    def test_a_cancel_is_heard_before_another_attempt(self) -> None:
        assert ended(past(1, R.MACHINE_LOST), is_cancelled=True).status == S.CANCELLED


class TestBreaker:
    def test_three_machines_that_fail_alike_are_enough(self) -> None:
        tried = [past(n, R.MACHINE_LOST, found) for n, found in enumerate(OFFERS, start=1)]
        assert ended(*tried[:2]).status == S.QUEUED
        step = ended(*tried)
        assert (step.status, step.reason) == (S.FAILED, R.MACHINE_LOST)
        assert step.detail == (
            "machine_lost it was Stopped by the breaker: 3 attempts in a row ended with machine_lost: "
            "1 (local big), 2 (local small), 3 (local big)."
        )

    def test_two_errors_of_the_trainer_are_enough(self) -> None:
        step = ended(past(1, R.TRAINER_ERROR), past(2, R.TRAINER_ERROR, SMALL))
        assert (step.status, step.reason) == (S.FAILED, R.TRAINER_ERROR)

    def test_another_cause_between_begins_a_new_row(self) -> None:
        causes = [R.MACHINE_LOST, R.MACHINE_LOST, R.HEARTBEAT_LOST, R.MACHINE_LOST, R.MACHINE_LOST]
        assert ended(*(past(n, reason) for n, reason in enumerate(causes, start=1))).status == S.QUEUED

    def test_a_refusal_between_does_not(self) -> None:
        causes = [R.MACHINE_LOST, R.NO_CAPACITY, R.MACHINE_LOST, R.NO_CAPACITY, R.MACHINE_LOST]
        assert ended(*(past(n, reason) for n, reason in enumerate(causes, start=1))).status == S.FAILED

    def test_numbers_and_ids_do_not_make_another_cause(self) -> None:
        def told(detail: str) -> tuple[str, str]:
            return cause_of(Past(past(1, R.MACHINE_LOST), R.MACHINE_LOST, detail))

        assert told(f"local has no machine {JOB}-1.") == told(f"local has no machine {JOB}-2.")
        assert told("Last heard of at 2026-11-22T12:00:03+00:00.") == told(
            "Last heard of at 2026-11-23T01:10:59+00:00."
        )
        assert told("Step 12 since noon") == told("Step 4096 since noon")
        assert told("CUDA error: no kernel image") != told("CUDA error: device lost")

    def test_failed_attempts_may_cost_half_the_budget(self) -> None:
        book = Book(JOB, budget=10 * ONE_USD)
        book.reserve(1, amount=5 * ONE_USD, at=NOW)
        book.accrue(1, total=4 * ONE_USD, at=NOW)
        running = {"billing_started_at": ago(hours=1), "billing_ended_at": NOW}
        step = ended(past(1, R.MACHINE_LOST), past(2, R.HEARTBEAT_LOST, **running), book=book)
        assert step.status == S.QUEUED
        book.accrue(1, total=4 * ONE_USD + 1, at=NOW)
        step = ended(past(1, R.MACHINE_LOST), past(2, R.HEARTBEAT_LOST, **running), book=book)
        assert (step.status, step.reason) == (S.FAILED, R.HEARTBEAT_LOST)
        assert "2 failed attempts have cost $5.0000, more than 50% of the budget of $10.0000." in step.detail


class TestResume:
    def test_another_attempt_goes_on_from_the_last_checkpoint(self) -> None:
        assert taken(queued()).may_resume
        assert taken(queued(past(1, R.MACHINE_LOST))).may_resume

    def test_after_an_error_of_the_trainer_it_starts_anew(self) -> None:
        assert not taken(queued(past(1, R.TRAINER_ERROR))).may_resume


def launch_with(per_device: int, accumulation: int = 1, *, planned: PlannedOffer = BIG) -> Any:
    batch = Batch(per_device=per_device, gradient_accumulation=accumulation)
    return command(recipe=Recipe(model=ModelChoice(name_or_path="tiny"), batch=batch), offers=[planned])


class TestRefit:
    @pytest.mark.parametrize(
        ("vram", "expected"),
        [
            (80, DeviceBatch(8, 2)),
            (160, DeviceBatch(8, 2)),
            (48, DeviceBatch(4, 4)),
            (40, DeviceBatch(4, 4)),
            (24, DeviceBatch(2, 8)),
            (4, DeviceBatch(1, 16)),
            (None, DeviceBatch(8, 2)),
        ],
    )
    def test_less_memory_halves_the_rows_on_a_device(self, vram: int | None, expected: DeviceBatch) -> None:
        found = offer("another", vram_bytes=vram * GIB if vram else None)
        assert fitted(launch_with(8, 2), found) == expected

    @given(
        per_device=st.integers(1, 64),
        accumulation=st.integers(1, 16),
        devices=st.tuples(st.integers(0, 8), st.integers(0, 8)),
        memory=st.tuples(st.integers(1, 192), st.integers(1, 192)),
        halvings=st.integers(0, 4),
    )
    def test_the_effective_batch_stays_exactly(
        self,
        per_device: int,
        accumulation: int,
        devices: tuple[int, int],
        memory: tuple[int, int],
        halvings: int,
    ) -> None:
        planned, found = (
            offer("a", gpu_count=count, vram_bytes=size * GIB) for count, size in zip(devices, memory, strict=True)
        )
        batch = fitted(launch_with(per_device, accumulation, planned=planned), found, halvings=halvings)
        rows = per_device * accumulation * max(1, devices[0])
        if batch is None:
            assert rows % max(1, devices[1]) or rows > 4096
            return
        assert batch.per_device * batch.accumulation * max(1, devices[1]) == rows
        assert 1 <= batch.per_device <= max(1, per_device >> halvings)

    def test_the_attempt_on_a_smaller_gpu_is_refitted(self) -> None:
        step = taken(queued(past(1, R.MACHINE_LOST)))
        assert (step.offer, step.batch) == (SMALL, DeviceBatch(1, 4))

    def test_devices_that_cannot_share_the_batch_are_passed_over(self) -> None:
        three, two = offer("big", gpu_count=3), offer("big", gpu_count=2)
        assert taken(queued(past(1, R.MACHINE_LOST), offers=[BIG, three, two])).offer == two

    def test_out_of_memory_is_tried_again_with_half_the_rows_on_a_gpu_that_is_not_smaller(self) -> None:
        tried = past(1, R.OUT_OF_MEMORY)
        assert ended(tried).retry_at == NOW
        step = taken(queued(tried, offers=[BIG, SMALL], cooldowns=cooling(BIG, seconds=-1)))
        assert (step.offer, step.batch) == (BIG, DeviceBatch(2, 2))
        again = taken(queued(tried, past(2, R.OUT_OF_MEMORY, per_device=2, accumulation=2)))
        assert again.batch == DeviceBatch(1, 4)

    def test_a_smaller_gpu_is_no_answer_to_out_of_memory(self) -> None:
        step = next_step(queued(past(1, R.OUT_OF_MEMORY), offers=[BIG, SMALL], cooldowns=cooling(BIG)))
        assert isinstance(step, Wait)

    def test_out_of_memory_with_one_row_on_each_device_ends_the_job(self) -> None:
        step = ended(past(1, R.OUT_OF_MEMORY, per_device=1))
        assert (step.status, step.detail) == (S.FAILED, "out_of_memory it was One row on each device is the least.")

    def test_out_of_memory_after_two_refits_is_enough(self) -> None:
        tried = [past(number, R.OUT_OF_MEMORY, per_device=16 >> number) for number in (1, 2, 3)]
        assert ended(*tried[:2]).status == S.QUEUED
        assert ended(*tried).status == S.FAILED
