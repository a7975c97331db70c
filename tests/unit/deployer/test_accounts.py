"""From provider and owner to the account that pays."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from stoker_deployer.providers.accounts import Account, AccountMissing, Accounts, HeldKey
from stoker_shared.clock import ManualClock
from stoker_shared.errors import ProviderError
from tests.simulators.hostile.cloud import Cloud
from tests.simulators.hostile.provider import HostileProvider
from tests.unit.deployer.rows import NOW

OWNERS, CLOUDS = ("user-1", "user-2", "user-3"), ("cloud", "other")


class HeldKeys:
    """The vault, as far as accounts ask it: one key for each owner and name, and earlier ones of the same account."""

    def __init__(self, *set_by: tuple[str, str], version: int = 2) -> None:
        self.set_by, self.version, self.asked = set(set_by), version, 0

    async def key(self, owner: str, name: str, *, version: int | None = None) -> HeldKey | None:
        self.asked += 1
        return self._held(owner, name) if (owner, name) in self.set_by else None

    async def all_keys(self, names: Collection[str]) -> list[HeldKey]:
        return [self._held(owner, name) for owner, name in sorted(self.set_by) if name in names]

    def _held(self, owner: str, name: str) -> HeldKey:
        versions = frozenset(range(1, self.version + 1))
        secret = SecretStr(f"key-of-{owner}-{self.version}")
        return HeldKey(owner, name, self.version, f"{owner}/acc", versions, secret)


class Keyed(HostileProvider):
    """Remembers its key and its end."""

    def __init__(self, key: SecretStr, *, name: str) -> None:
        super().__init__(Cloud(ManualClock(NOW)), name=name)
        self.key = key.get_secret_value()
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


@dataclass
class Launched:
    """An attempt, as far as accounts look at it."""

    provider: str
    owner: str
    key_version: int


def made(keys: HeldKeys, *operators: str, clock: ManualClock | None = None) -> Accounts:
    clock = clock or ManualClock(NOW)
    return Accounts(
        {name: HostileProvider(Cloud(clock), name=name) for name in operators},
        factories={name: partial(Keyed, name=name) for name in CLOUDS},
        keys=keys,
        clock=clock,
    )


_SETS = st.sets(st.tuples(st.sampled_from(OWNERS), st.sampled_from(CLOUDS)))
_OPERATORS = st.sets(st.sampled_from(["local", *CLOUDS]))


@given(set_by=_SETS, operators=_OPERATORS, owner=st.sampled_from(OWNERS), name=st.sampled_from(["local", *CLOUDS]))
async def test_an_owner_gets_the_own_account_else_the_operators_else_none(
    set_by: set[tuple[str, str]], operators: set[str], owner: str, name: str
) -> None:
    accounts = made(HeldKeys(*set_by), *operators)
    is_own = (owner, name) in set_by
    if not is_own and name not in operators:
        with pytest.raises(AccountMissing) as caught:
            await accounts.of(name, owner)
        assert f"stoker secrets set {name}" in caught.value.next_step
        return
    provider = await accounts.of(name, owner)
    assert isinstance(provider, Keyed) == is_own
    assert provider.name == name
    if isinstance(provider, Keyed):
        assert provider.key == f"key-of-{owner}-2"
    else:
        assert name in operators


@given(set_by=_SETS, operators=_OPERATORS)
async def test_nobody_is_served_by_another_owners_key(set_by: set[tuple[str, str]], operators: set[str]) -> None:
    accounts = made(HeldKeys(*set_by), *operators)
    for owner in OWNERS:
        found = [account async for account in _accounts_of(accounts, owner)]
        for account in found:
            assert account.owner in ("", owner)
            assert not isinstance(account.provider, Keyed) or f"key-of-{owner}-" in account.provider.key
        usable = accounts.usable({name for who, name in set_by if who == owner})
        assert usable == {account.provider.name for account in found}


async def _accounts_of(accounts: Accounts, owner: str) -> AsyncIterator[Account]:
    for name in accounts.names:
        try:
            yield await accounts.account(name, owner)
        except AccountMissing:
            continue


@given(set_by=_SETS, operators=_OPERATORS, owner=st.sampled_from(OWNERS), version=st.integers(0, 3))
async def test_each_attempt_belongs_to_one_account_at_most(
    set_by: set[tuple[str, str]], operators: set[str], owner: str, version: int
) -> None:
    accounts = made(HeldKeys(*set_by), *operators)
    for name in ("local", *CLOUDS):
        theirs = [found for found in await accounts.all() if found.provider.name == name]
        launched = [found for found in theirs if found.has_launched(owner=owner, key_version=version)]
        assert len(launched) <= 1
        for found in launched:
            assert found.provider is await accounts.of_attempt(Launched(name, owner, version))


async def test_an_attempt_of_the_operators_account_stays_there_when_its_owner_sets_a_key() -> None:
    keys = HeldKeys()
    accounts = made(keys, "cloud")
    operators = await accounts.of("cloud", "user-1")
    keys.set_by.add(("user-1", "cloud"))
    assert await accounts.of_attempt(Launched("cloud", "user-1", 0)) is operators
    assert isinstance(await accounts.of("cloud", "user-1"), Keyed)


async def test_an_attempt_with_a_key_is_never_looked_for_at_the_operators_account() -> None:
    accounts = made(HeldKeys(), "cloud")
    with pytest.raises(AccountMissing) as caught:
        await accounts.of_attempt(Launched("cloud", "user-1", 1))
    assert isinstance(caught.value, ProviderError)


async def test_one_instance_serves_a_key_and_its_row_is_not_read_for_each_look() -> None:
    clock, keys = ManualClock(NOW), HeldKeys(("user-1", "cloud"))
    accounts = made(keys, clock=clock)
    attempt = Launched("cloud", "user-1", 1)
    first = await accounts.of_attempt(attempt)
    assert all([await accounts.of_attempt(attempt) is first for _ in range(20)])
    assert keys.asked == 1
    assert await accounts.of_attempt(Launched("cloud", "user-1", 2)) is first
    clock.advance(timedelta(seconds=31))
    assert await accounts.of_attempt(attempt) is first
    assert keys.asked == 3


async def test_a_key_that_was_replaced_is_dropped_when_nobody_can_be_using_it() -> None:
    clock, keys = ManualClock(NOW), HeldKeys(("user-1", "cloud"))
    accounts = made(keys, clock=clock)
    attempt = Launched("cloud", "user-1", 2)
    first = await accounts.of_attempt(attempt)
    assert isinstance(first, Keyed)
    keys.version = 3
    clock.advance(timedelta(seconds=31))
    second = await accounts.of_attempt(attempt)
    assert isinstance(second, Keyed)
    assert second.key == "key-of-user-1-3"
    assert not first.is_closed
    for _ in range(10):
        clock.advance(timedelta(seconds=31))
        assert await accounts.of_attempt(attempt) is second
    assert first.is_closed
    assert not second.is_closed


async def test_a_removed_key_serves_no_attempt_after_its_time() -> None:
    clock, keys = ManualClock(NOW), HeldKeys(("user-1", "cloud"))
    accounts = made(keys, clock=clock)
    await accounts.of_attempt(Launched("cloud", "user-1", 2))
    keys.set_by.clear()
    clock.advance(timedelta(seconds=31))
    with pytest.raises(AccountMissing):
        await accounts.of_attempt(Launched("cloud", "user-1", 2))


def test_a_key_is_not_in_the_repr_of_what_holds_it() -> None:
    held = HeldKey("user-1", "cloud", 1, "user-1/acc", frozenset({1}), SecretStr("the-very-secret"))
    assert "the-very" not in repr(held)
