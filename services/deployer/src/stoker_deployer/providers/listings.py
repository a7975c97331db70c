"""One listing for all who would ask a provider for the state of one machine each."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from stoker_deployer.providers.base import Alive, Provider
from stoker_shared.clock import Clock
from stoker_shared.errors import ProviderError


@dataclass(slots=True)
class _Listing:
    """What was answered last, or why nothing was. `asked_at` is from before the question."""

    asked_at: datetime | None = None
    alive: Mapping[str, Alive] = field(default_factory=dict)
    failure: ProviderError | None = None
    is_asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Listings:
    """The living machines of each account, by handle; asked for at most once in `fresh_for`.

    A listing can only say that a machine lives. One that is not in it may be new, or left out: its provider must be
    asked for it alone before it may count as ended.
    """

    def __init__(self, *, clock: Clock, fresh_for: timedelta) -> None:
        self._clock = clock
        self._fresh_for = fresh_for
        # By instance: each account at a provider has its own, and one whose key is refused fails alone.
        self._by_account: WeakKeyDictionary[Provider, _Listing] = WeakKeyDictionary()

    async def alive(self, provider: Provider) -> Mapping[str, Alive]:
        """Those that live.

        Raises:
            ProviderError: the provider could not be asked, now or a moment ago; it is spared further questions.
        """
        listing = self._by_account.setdefault(provider, _Listing())
        async with listing.is_asking:
            if listing.asked_at is None or not timedelta(0) <= self._age(listing.asked_at) < self._fresh_for:
                await self._ask(provider, listing)
        if listing.failure is not None:
            raise listing.failure
        return listing.alive

    def _age(self, asked_at: datetime) -> timedelta:
        return self._clock.now() - asked_at

    async def _ask(self, provider: Provider, listing: _Listing) -> None:
        asked_at = self._clock.now()
        try:
            machines = await provider.list_machines()
        except ProviderError as error:
            listing.failure = error
        else:
            listing.failure = None
            listing.alive = {found.handle: found.state for found in machines if isinstance(found.state, Alive)}
        listing.asked_at = asked_at
