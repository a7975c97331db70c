"""Saving and finding recipes."""

from stoker_api.recipes.repository import RecipeRepository
from stoker_api.recipes.schemas import SavedRecipe, SaveRecipe
from stoker_api.recipes.tables import RecipeRow
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import NotFound
from stoker_shared.identifiers import new_identifier
from stoker_shared.recipe import Recipe


class RecipeService:
    """An owner's recipes."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._rows = RecipeRepository()

    async def save(self, owner: str, wanted: SaveRecipe) -> SavedRecipe:
        """Store a recipe as the next version of its name."""
        async with self._database.transaction() as session:
            version = await self._rows.next_version(session, owner=owner, name=wanted.name)
            row = RecipeRow(
                id=new_identifier("rcp"),
                owner=owner,
                name=wanted.name,
                version=version,
                document=wanted.recipe.model_dump(mode="json"),
                created_at=self._clock.now(),
            )
            await self._rows.add(session, row)
        return _saved(row)

    async def get(self, owner: str, recipe_id: str) -> SavedRecipe:
        """One version of a recipe.

        Raises:
            NotFound: there is none of this owner.
        """
        async with self._database.transaction() as session:
            row = await self._rows.find(session, owner=owner, recipe_id=recipe_id)
        if row is None:
            raise NotFound("recipe", recipe_id, next_step="GET /v1/recipes lists yours.")
        return _saved(row)

    async def newest(self, owner: str, *, name: str | None, limit: int) -> list[SavedRecipe]:
        """The newest versions, of one name if it is given."""
        async with self._database.transaction() as session:
            rows = await self._rows.newest(session, owner=owner, name=name, limit=limit)
        return [_saved(row) for row in rows]


def _saved(row: RecipeRow) -> SavedRecipe:
    return SavedRecipe(
        recipe_id=row.id,
        name=row.name,
        version=row.version,
        recipe=Recipe.model_validate(row.document),
        created_at=row.created_at,
    )
