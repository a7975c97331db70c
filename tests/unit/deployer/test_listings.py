"""One listing for all who ask within its time."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from stoker_deployer.providers import Alive, AliveKind, Exited, Gone, Machine, MachineState
from stoker_deployer.providers.listings import Listings
from stoker_shared.clock import ManualClock
from stoker_shared.errors import ProviderError, UnknownOutcome
from tests.unit.deployer.rows import NOW

RUNNING = Alive(AliveKind.RUNNING)


class Listed:
    """As much of a provider as is asked."""

    name = "listed"

    def __init__(self, **states: MachineState) -> None:
        self.states = states
        self.asked = 0
        self.failure: ProviderError | None = None

    async def list_machines(self) -> list[Machine]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return [Machine(name, name, state) for name, state in self.states.items()]


def made(clock: ManualClock) -> Listings:
    return Listings(clock=clock, fresh_for=timedelta(seconds=1))


async def test_many_who_ask_at_once_share_one_listing() -> None:
    provider, listings = Listed(a=RUNNING), made(ManualClock(NOW))
    answers: list[Any] = await asyncio.gather(*(listings.alive(provider) for _ in range(10)))  # type: ignore[arg-type]
    assert provider.asked == 1
    assert all(answer == {"a": RUNNING} for answer in answers)


async def test_only_the_living_are_told() -> None:
    provider = Listed(a=RUNNING, b=Gone(), c=Exited(1))
    assert await made(ManualClock(NOW)).alive(provider) == {"a": RUNNING}  # type: ignore[arg-type]


async def test_an_old_listing_is_made_anew_also_when_the_clock_was_set_back() -> None:
    clock = ManualClock(NOW)
    provider, listings = Listed(a=RUNNING), made(clock)
    for jump in (timedelta(), timedelta(seconds=2), timedelta(minutes=-5)):
        clock.advance(jump)
        await listings.alive(provider)  # type: ignore[arg-type]
    assert provider.asked == 3


async def test_a_provider_that_does_not_answer_is_asked_once_for_all() -> None:
    clock = ManualClock(NOW)
    provider, listings = Listed(a=RUNNING), made(clock)
    provider.failure = UnknownOutcome("listed", "no answer", next_step="Wait.")
    for _ in range(3):
        with pytest.raises(UnknownOutcome):
            await listings.alive(provider)  # type: ignore[arg-type]
    assert provider.asked == 1
    provider.failure = None
    clock.advance(timedelta(seconds=2))
    assert await listings.alive(provider) == {"a": RUNNING}  # type: ignore[arg-type]


async def test_each_account_at_a_provider_has_a_listing_of_its_own() -> None:
    annas, bertas, listings = Listed(a=RUNNING), Listed(b=RUNNING), made(ManualClock(NOW))
    annas.failure = UnknownOutcome("listed", "the key is refused", next_step="Set it.")
    with pytest.raises(UnknownOutcome):
        await listings.alive(annas)  # type: ignore[arg-type]
    assert await listings.alive(bertas) == {"b": RUNNING}  # type: ignore[arg-type]
