"""A look into a service's tables, past the service."""

from dataclasses import dataclass

import asyncpg


@dataclass
class Tables:
    """A database as its owner. A connection of its own for each look, so that no transaction is shared."""

    url: str

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Look into the tables."""
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def execute(self, query: str, *values: object) -> None:
        """Change the tables by hand."""
        await self.rows(query, *values)
