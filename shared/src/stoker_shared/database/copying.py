"""COPY: the quick way to bring many rows in."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_shared.database.statements import AWAY
from stoker_shared.errors import ServiceUnavailable


async def copy_rows(
    session: AsyncSession, table: str, *, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Add rows by COPY in the session's transaction, which must have begun with a statement.

    Raises:
        ServiceUnavailable: the server is away.
    """
    try:
        # The driver's own connection, which is in the transaction that the session's first statement has begun.
        await (await (await session.connection()).get_raw_connection()).driver_connection.copy_records_to_table(  # type: ignore[union-attr]
            table, records=rows, columns=list(columns)
        )
    except AWAY as error:
        raise ServiceUnavailable("PostgreSQL", type(error).__name__) from error
