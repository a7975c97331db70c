"""SQL of recipes."""

from sqlalchemy import func, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from stoker_api.recipes.tables import RecipeRow

# Two saves of one name at once must not take the same version.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('recipe ' || :owner || ' ' || :name))")


class RecipeRepository:
    """Every method runs in the caller's transaction and sees one owner's rows only."""

    async def next_version(self, session: AsyncSession, *, owner: str, name: str) -> int:
        """The version that the next save of this name gets; holds others back until the transaction ends."""
        await session.execute(_ONE_AT_A_TIME, {"owner": owner, "name": name})
        statement = select(func.max(col(RecipeRow.version))).where(
            col(RecipeRow.owner) == owner, col(RecipeRow.name) == name
        )
        return ((await session.execute(statement)).scalar_one() or 0) + 1

    async def add(self, session: AsyncSession, row: RecipeRow) -> None:
        """Store a version."""
        session.add(row)

    async def find(self, session: AsyncSession, *, owner: str, recipe_id: str) -> RecipeRow | None:
        """One version."""
        statement = select(RecipeRow).where(col(RecipeRow.id) == recipe_id, col(RecipeRow.owner) == owner)
        return (await session.scalars(statement)).first()

    async def newest(self, session: AsyncSession, *, owner: str, name: str | None, limit: int) -> list[RecipeRow]:
        """The newest versions, of one name if it is given."""
        statement = select(RecipeRow).where(col(RecipeRow.owner) == owner)
        if name is not None:
            statement = statement.where(col(RecipeRow.name) == name)
        ordered = statement.order_by(col(RecipeRow.created_at).desc(), col(RecipeRow.version).desc()).limit(limit)
        return list((await session.scalars(ordered)).all())
