"""Single statements straight to the server, for the few hot paths where a session's own trips would count."""

import asyncio
from typing import Any

import asyncpg
from pydantic import SecretStr
from sqlalchemy import make_url

from stoker_shared.errors import ServiceUnavailable

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)


class Statements:
    """Bare connections, at most `pool_size`. Each statement is a transaction by itself, prepared once per connection.

    asyncpg's own pool starts a task for each release, which costs as much as the statement. A connection that the
    server closed is noticed without asking; one that dies under a statement fails that statement.
    """

    def __init__(self, url: SecretStr, *, pool_size: int = 4) -> None:
        bare = make_url(url.get_secret_value()).set(drivername="postgresql")
        self._url = SecretStr(bare.render_as_string(hide_password=False))
        self._room = asyncio.Semaphore(pool_size)
        self._idle: list[asyncpg.Connection] = []

    async def fetch_row(self, sql: str, *values: Any) -> asyncpg.Record | None:
        """The first row, None if there is none.

        Raises:
            ServiceUnavailable: the server is away; an answer that was lost may have been carried out.
        """
        try:
            async with self._room:
                connection = await self._connected()
                try:
                    row = await connection.fetchrow(sql, *values)
                except BaseException:
                    connection.terminate()  # cancelled in mid-answer, or broken: not for the next one
                    raise
                self._idle.append(connection)
                return row
        except AWAY as error:
            raise ServiceUnavailable("PostgreSQL", type(error).__name__) from error

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            await self._idle.pop().close()

    async def _connected(self) -> asyncpg.Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await asyncpg.connect(self._url.get_secret_value(), timeout=5, command_timeout=30)
