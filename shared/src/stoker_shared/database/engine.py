"""One engine per process; a session is a transaction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from pydantic import SecretStr
from pydantic_core import from_json
from sqlalchemy import Column, DateTime, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from stoker_shared.errors import ServiceUnavailable

# Raised as they are while a connection is made: SQLAlchemy wraps errors of queries only.
_WHILE_CONNECTING = (
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
)

UtcColumn = DateTime(timezone=True)


def utc_column(*, nullable: bool = False, **options: Any) -> Column[Any]:
    """A column of `timestamptz`, the only time type in our tables."""
    return Column(UtcColumn, nullable=nullable, **options)


class Database:
    """Hands out transactions. Create one per process, close it at the end."""

    def __init__(
        self, url: SecretStr, *, pool_size: int = 8, transaction_limit: timedelta = timedelta(seconds=60)
    ) -> None:
        # A connection that dies unseen in the middle of an exchange must not hold its caller for ever.
        self._limit_seconds = transaction_limit.total_seconds()
        # pool_pre_ping: after a restart of the server the pool holds dead connections.
        self.engine: AsyncEngine = create_async_engine(
            url.get_secret_value(),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=10,
            json_deserializer=from_json,
            connect_args={
                "timeout": 5,
                "command_timeout": 30,
                "server_settings": {
                    # A process that is stopped in a transaction must not hold its locks.
                    "idle_in_transaction_session_timeout": f"{int(self._limit_seconds * 1000)}",
                    # Compiling pays for queries that take seconds; the look of asyncpg at types would be compiled, too.
                    "jit": "off",
                },
            },
            hide_parameters=True,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session that commits at the end, or rolls back if an exception leaves the block.

        Never await a network call inside: after `transaction_limit` it is given up.

        Raises:
            ServiceUnavailable: the server is away; nothing was committed unless the connection broke in the commit.
        """
        try:
            async with (
                asyncio.timeout(self._limit_seconds),
                AsyncSession(self.engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session
        except (OSError, TimeoutError, PoolExhausted, *_WHILE_CONNECTING) as error:
            raise ServiceUnavailable("PostgreSQL", type(error).__name__) from error
        except (OperationalError, InterfaceError) as error:
            raise ServiceUnavailable("PostgreSQL", type(error.orig).__name__) from error
        except DBAPIError as error:
            if error.connection_invalidated or _may_pass(error):
                raise ServiceUnavailable("PostgreSQL", type(error.orig).__name__) from error
            raise

    async def is_ready(self) -> bool:
        """Whether a query is answered."""
        try:
            async with self.transaction() as session:
                await session.execute(text("SELECT 1"))
        except ServiceUnavailable:
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def _may_pass(error: DBAPIError) -> bool:
    # 57P: the server shuts down, crashed, or does not accept connections yet. 08: the connection broke.
    # 53: out of connections, memory or disk. 40: deadlock or serialisation failure.
    state = getattr(error.orig, "sqlstate", None) or ""
    return state.startswith(("57P", "08", "53", "40"))
