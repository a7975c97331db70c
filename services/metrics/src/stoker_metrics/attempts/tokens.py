"""From a job token to the attempt that it opens."""

from stoker_metrics.attempts.schemas import Standing
from stoker_metrics.attempts.standings import Standings
from stoker_metrics.errors import JobTokenRefused
from stoker_shared.clock import Clock
from stoker_shared.tokens import is_token_shaped, token_hash


class JobTokens:
    """Looks tokens up."""

    def __init__(self, standings: Standings, *, clock: Clock) -> None:
        self._standings = standings
        self._clock = clock

    async def attempt_of(self, token: str, *, job_id: str) -> Standing:
        """The attempt that the token opens.

        Raises:
            JobTokenRefused: unknown, expired, revoked, or of another job.
            ServiceUnavailable: the database is away, and the token was not confirmed lately.
        """
        if not is_token_shaped(token):
            raise JobTokenRefused
        hashed = token_hash(token)
        standing = await self._standings.of_token(hashed)
        if standing is None or standing.is_revoked or standing.job_id != job_id:
            raise JobTokenRefused
        if standing.tokens[hashed] <= self._clock.now():
            raise JobTokenRefused
        return standing
