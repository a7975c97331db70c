"""From a job token to the attempt that it opens, with a short memory that a revoke empties."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from stoker_metrics.attempts.repository import AttemptRepository
from stoker_metrics.attempts.schemas import TokenFacts
from stoker_metrics.errors import JobTokenRefused
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.tokens import is_token_shaped, token_hash

_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class TokenMemorySettings:
    """`fresh_for`: believed without asking. `kept_for`: believed while the database is away."""

    fresh_for: timedelta
    kept_for: timedelta


@dataclass(frozen=True, slots=True)
class _Remembered:
    facts: TokenFacts
    asked_at: datetime


class JobTokens:
    """Looks tokens up. While the database is away, what was known lately still counts: nothing can be revoked then."""

    def __init__(self, database: Database, *, clock: Clock, settings: TokenMemorySettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._rows = AttemptRepository()
        self._memory: dict[str, _Remembered] = {}
        self._generation = 0

    async def attempt_of(self, token: str, *, job_id: str) -> TokenFacts:
        """The attempt that the token opens.

        Raises:
            JobTokenRefused: unknown, expired, revoked, or of another job.
            ServiceUnavailable: the database is away and the token was not seen lately.
        """
        if not is_token_shaped(token):
            raise JobTokenRefused
        facts = await self._facts(token_hash(token))
        if facts is None or facts.is_revoked or facts.job_id != job_id or facts.expires_at <= self._clock.now():
            raise JobTokenRefused
        return facts

    def forget(self) -> None:
        """Something was revoked: ask the database again for every token."""
        # The generation keeps a look-up that is under way from putting back what it read before the revoke.
        self._generation += 1
        self._memory.clear()

    async def _facts(self, hashed: str) -> TokenFacts | None:
        known = self._memory.get(hashed)
        if known is not None and self._age(known) < self._settings.fresh_for:
            return known.facts
        try:
            return await self._ask(hashed)
        except ServiceUnavailable:
            if known is not None and self._age(known) < self._settings.kept_for:
                return known.facts
            raise

    async def _ask(self, hashed: str) -> TokenFacts | None:
        generation, asked_at = self._generation, self._clock.now()
        async with self._database.transaction() as session:
            facts = await self._rows.token(session, token_sha256=hashed)
        if facts is None or generation != self._generation:
            return facts
        if len(self._memory) >= _MOST_REMEMBERED:
            self._memory.clear()
        self._memory[hashed] = _Remembered(facts, asked_at)
        return facts

    def _age(self, known: _Remembered) -> timedelta:
        return self._clock.now() - known.asked_at
