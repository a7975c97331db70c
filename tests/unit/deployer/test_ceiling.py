"""The price ceiling: in the offers of the plan, and in what the provider asks in the end."""

from stoker_deployer.jobs.steps import BeginAttempt, BeginTermination, EndQueued, Wait
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import Sight
from stoker_shared.job_state import EndReason
from stoker_shared.money import ONE_USD
from tests.unit.deployer.rows import HOURLY, attempt, command, job, view
from tests.unit.deployer.situations import WELL, S


def test_dearer_offers_are_passed_over() -> None:
    cheap = command(max_price_micro_usd_per_hour=HOURLY)
    for number in range(3):
        step = next_step(view(job(S.QUEUED, launch=cheap, attempt=number), None, Sight()))
        assert isinstance(step, BeginAttempt)
        assert step.offer.gpu_type == "cpu"


def test_when_none_is_left_the_prices_are_told() -> None:
    poor = command(max_price_micro_usd_per_hour=HOURLY - 1)
    step = next_step(view(job(S.QUEUED, launch=poor), None, Sight()))
    assert isinstance(step, EndQueued)
    assert step.reason == EndReason.PRICE_ABOVE_CEILING
    assert step.detail == (
        "The job may pay $1.0000 per hour; of 2 offers the cheapest are local cpu at $1.0000, local other at $2.0000."
    )


def test_a_provider_that_asks_more_than_it_offered_loses_the_job() -> None:
    row = job(S.STARTING, launch=command(max_price_micro_usd_per_hour=ONE_USD))
    dear = next_step(view(row, attempt(price_micro_usd_per_hour=3 * ONE_USD), WELL))
    assert isinstance(dear, BeginTermination)
    assert dear.reason == EndReason.PRICE_ABOVE_CEILING
    assert "asks $3.0000 per hour" in dear.detail
    row = job(S.TRAINING, launch=command(max_price_micro_usd_per_hour=ONE_USD))
    assert isinstance(next_step(view(row, attempt(), WELL)), Wait)
