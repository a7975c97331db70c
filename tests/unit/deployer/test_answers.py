"""What is told of several providers when one of them, or the place where keys are kept, does not answer."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.answers import service
from stoker_deployer.answers.service import Answers
from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.providers.accounts import Accounts, HeldKey
from stoker_shared.clock import ManualClock
from stoker_shared.database import Database
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.rpc.deployer import HealthQuery, Offer, OffersQuery, ProviderHealth
from tests.simulators.hostile.cloud import Cloud
from tests.simulators.hostile.provider import HostileProvider
from tests.unit.deployer.rows import NOW

OWNER = "user-1"


class AwayDatabase(Database):
    """PostgreSQL does not answer."""

    def __init__(self) -> None:
        """No engine: nothing is ever asked."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        raise ServiceUnavailable("PostgreSQL", "away")
        yield


class Keys:
    """A vault with a key for everybody, for nobody, or that cannot be read."""

    def __init__(self, state: str) -> None:
        self.state = state

    async def key(self, owner: str, name: str, *, version: int | None = None) -> HeldKey | None:
        if self.state == "away":
            raise ServiceUnavailable("PostgreSQL", "away")
        return HeldKey(owner, name, 1, "", frozenset({1}), SecretStr("x")) if self.state == "set" else None

    async def all_keys(self, names: Collection[str]) -> list[HeldKey]:
        raise AssertionError("nobody asks for all")


class Silent(HostileProvider):
    """Takes each question and never answers."""

    async def offers(self, query: OffersQuery) -> list[Offer]:
        await asyncio.Event().wait()
        raise AssertionError

    async def health(self) -> ProviderHealth:
        await asyncio.Event().wait()
        raise AssertionError


def _answers(keys: str) -> Answers:
    clock = ManualClock(NOW)
    accounts = Accounts(
        {"local": HostileProvider(Cloud(clock), name="local")},
        factories={"cloud": lambda _key: Silent(Cloud(clock), name="cloud")},
        keys=Keys(keys),
        clock=clock,
    )
    return Answers(AwayDatabase(), JobRepository(LedgerRepository()), accounts, Keys(keys))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PATIENCE", timedelta(milliseconds=50))


@pytest.mark.parametrize(
    ("keys", "faults"),
    [("set", ["provider_outcome_unknown"]), ("away", ["temporarily_unavailable"]), ("not set", [])],
)
async def test_offers_of_the_others_are_told_whatever_one_does(keys: str, faults: list[str]) -> None:
    listed = await _answers(keys).offers(OffersQuery(owner=OWNER))
    assert {offer.provider for offer in listed.offers} == {"local"}
    assert [(fault.provider, fault.code) for fault in listed.faults] == [("cloud", code) for code in faults]
    assert all(fault.next_step for fault in listed.faults)


@pytest.mark.parametrize(("keys", "is_set_up"), [("set", True), ("away", True), ("not set", False)])
async def test_health_of_the_others_is_told_whatever_one_does(keys: str, *, is_set_up: bool) -> None:
    told = {health.provider: health for health in (await _answers(keys).health(HealthQuery(owner=OWNER))).providers}
    assert told["local"].is_usable
    assert (told["cloud"].is_usable, told["cloud"].is_set_up) == (False, is_set_up)
    assert told["cloud"].detail
    assert told["cloud"].next_step
