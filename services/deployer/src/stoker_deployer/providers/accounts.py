"""From the name of a provider and an owner to the account that pays. The only way to a `Provider`."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from pydantic import SecretStr

from stoker_deployer.providers.base import Provider
from stoker_shared.clock import Clock
from stoker_shared.errors import ProviderError

ProviderFactory = Callable[[SecretStr], Provider]
"""Makes a provider of one key. What is dear (connections) belongs to the factory; `close` of the provider leaves it."""

OPERATORS = 0
"""The key version of what was launched at an account of the operator's."""

_ONLY_OPERATORS = frozenset({OPERATORS})
# Longer than any call to a provider takes: whoever was handed an instance has done with it by then.
_UNUSED_FOR = timedelta(minutes=5)


class AccountMissing(ProviderError):
    """Nobody pays at this provider for this owner, or the key cannot be opened. Nothing was asked.

    As with any `ProviderError`, nothing follows from it about a machine: it is not known, never gone.
    """

    code = "provider_key_missing"
    status = 409
    title = "No key for this provider"

    def __init__(self, provider: str, *, version: int | None = None) -> None:
        which = "no key is set" if version is None else f"key version {version} is not there or cannot be opened"
        super().__init__(provider, which, next_step=f"Set a key: stoker secrets set {provider}.")


@dataclass(frozen=True, slots=True)
class HeldKey:
    """An owner's key, open. `versions`: all that are of the same account. `account` names that account among ours."""

    owner: str
    name: str
    version: int
    account: str
    versions: frozenset[int]
    secret: SecretStr = field(repr=False)


class Keys(Protocol):
    """Where keys are; the vault."""

    async def key(self, owner: str, name: str, *, version: int | None = None) -> HeldKey | None:
        """The owner's key for the next attempt, or for what was launched with `version`."""

    async def all_keys(self, names: Collection[str]) -> list[HeldKey]:
        """One key for each account of each owner."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays at a provider. `owner` is empty for the operator; `label` names the account among all of the provider's.

    `versions`: the key versions with which its attempts were launched.
    """

    provider: Provider
    owner: str = ""
    versions: frozenset[int] = _ONLY_OPERATORS
    label: str = ""

    def has_launched(self, *, owner: str, key_version: int) -> bool:
        """Whether an attempt is one of this account's."""
        is_theirs = key_version == OPERATORS if not self.owner else owner == self.owner
        return is_theirs and key_version in self.versions


@dataclass(frozen=True, slots=True)
class _Resolved:
    """Which instance serves what was launched with a version, as read at a time."""

    account: Account | None
    read_at: datetime


@dataclass(slots=True)
class _Instance:
    provider: Provider
    used_at: datetime


class _Launched(Protocol):
    """What an attempt tells of who launched it."""

    @property
    def provider(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def key_version(self) -> int: ...


class Accounts:
    """Keeps one instance for each key in use. Reads an attempt's key anew every `fresh_for`, others each time."""

    def __init__(
        self,
        operators: Mapping[str, Provider],
        *,
        factories: Mapping[str, ProviderFactory],
        keys: Keys,
        clock: Clock,
        fresh_for: timedelta = timedelta(seconds=30),
    ) -> None:
        self._operators = operators
        self._factories = factories
        self._keys = keys
        self._clock = clock
        self._fresh_for = fresh_for
        self._resolved: dict[tuple[str, str, int], _Resolved] = {}
        self._instances: dict[tuple[str, str, int], _Instance] = {}

    @property
    def names(self) -> frozenset[str]:
        """All providers that somebody may use."""
        return frozenset(self._operators) | frozenset(self._factories)

    def usable(self, keys: Collection[str]) -> frozenset[str]:
        """The providers that an owner with keys of these names can use."""
        return frozenset(self._operators) | (frozenset(self._factories) & frozenset(keys))

    async def of(self, provider: str, owner: str, *, version: int | None = None) -> Provider:
        """The provider as this owner's next attempt uses it, or as what was launched with key `version` does.

        Raises:
            AccountMissing: there is no account.
            ServiceUnavailable: it cannot be told now.
        """
        return (await self.account(provider, owner, version=version)).provider

    async def of_attempt(self, attempt: _Launched) -> Provider:
        """The provider with the account that an attempt was launched at.

        Raises:
            AccountMissing: its key is not there, or cannot be opened.
            ServiceUnavailable: it cannot be told now.
        """
        return await self.of(attempt.provider, attempt.owner, version=attempt.key_version)

    async def prepare(self, attempts: Iterable[_Launched]) -> None:
        """Read what `of_attempt` will need, one after the other, so that looks side by side do not each read it.

        Raises:
            ServiceUnavailable: it cannot be told now.
        """
        for attempt in attempts:
            try:
                await self.of_attempt(attempt)
            except AccountMissing:
                continue  # told to whoever asks

    async def account(self, provider: str, owner: str, *, version: int | None = None) -> Account:
        """As `of`, with who pays."""
        if provider not in self._factories or version == OPERATORS or (version is None and not owner):
            return self._operators_account(provider, version)
        if version is not None:
            return await self._launched_with(provider, owner, version)
        held = await self._keys.key(owner, provider)
        return self._operators_account(provider, None) if held is None else self._account_of(held)

    async def all(self) -> Sequence[Account]:
        """Every account that there may be a machine of ours at.

        Raises:
            ServiceUnavailable: it cannot be told now.
        """
        held = await self._keys.all_keys(self._factories.keys())
        return [*(Account(provider) for provider in self._operators.values()), *map(self._account_of, held)]

    async def close(self) -> None:
        """Release what the instances hold."""
        for instance in self._instances.values():
            await instance.provider.close()
        self._instances.clear()
        self._resolved.clear()

    def _operators_account(self, provider: str, version: int | None) -> Account:
        found = self._operators.get(provider)
        if found is None:
            raise AccountMissing(provider, version=version)
        return Account(found)

    async def _launched_with(self, provider: str, owner: str, version: int) -> Account:
        known = self._resolved.get((provider, owner, version))
        if known is None or not timedelta(0) <= self._clock.now() - known.read_at < self._fresh_for:
            await self._close_unused()
            read_at = self._clock.now()
            held = await self._keys.key(owner, provider, version=version)
            known = _Resolved(None if held is None else self._account_of(held), read_at)
            self._resolved[provider, owner, version] = known
        if known.account is None:
            raise AccountMissing(provider, version=version)
        return known.account

    def _account_of(self, held: HeldKey) -> Account:
        place, now = (held.name, held.owner, held.version), self._clock.now()
        instance = self._instances.get(place)
        if instance is None:
            instance = self._instances[place] = _Instance(self._factories[held.name](held.secret), now)
        instance.used_at = now
        return Account(instance.provider, held.owner, held.versions, held.account)

    async def _close_unused(self) -> None:
        now = self._clock.now()
        for place, known in list(self._resolved.items()):
            if now - known.read_at > _UNUSED_FOR:
                del self._resolved[place]
        for place, instance in list(self._instances.items()):
            if now - instance.used_at > _UNUSED_FOR:
                del self._instances[place]
                await instance.provider.close()
