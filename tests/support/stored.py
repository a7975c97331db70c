"""What a stack's services have stored, read as they do."""

import asyncio
from typing import Any

import asyncpg

from tests.support.live_stack import LiveStack


def query(url: str, sql: str, *values: Any) -> list[Any]:
    """The rows of one question."""

    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def stored_rows(stack: LiveStack, service: str, table: str, job_id: str) -> list[str]:
    """All that a table of a service says of a job, as JSON."""
    sql = f"SELECT row_to_json(t)::text AS told FROM {table} t WHERE job_id = $1"
    return [row["told"] for row in query(stack.database_url(service), sql, job_id)]
