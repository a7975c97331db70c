"""`/v1/recipes`."""

from typing import Annotated

from fastapi import APIRouter, Query

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.recipes.schemas import RecipeList, SavedRecipe, SaveRecipe
from stoker_api.responses import NOT_FOUND, UNAUTHORISED

router = APIRouter(prefix="/v1/recipes", tags=["recipes"], responses=UNAUTHORISED)


@router.post("", status_code=201, summary="Save a recipe")
async def save_recipe(wanted: SaveRecipe, account: CurrentAccount, parts: PartsOfRequest) -> SavedRecipe:
    """Store a training configuration under a name. A name that is saved again is a new version; old ones stay."""
    return await parts.recipes.save(account.user_id, wanted)


@router.get("", summary="List recipes")
async def list_recipes(
    account: CurrentAccount,
    parts: PartsOfRequest,
    name: Annotated[str | None, Query(description="Only versions of this name")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RecipeList:
    """Your recipes, the newest versions first."""
    return RecipeList(recipes=await parts.recipes.newest(account.user_id, name=name, limit=limit))


@router.get("/{recipe_id}", summary="Get a recipe", responses=NOT_FOUND)
async def get_recipe(recipe_id: str, account: CurrentAccount, parts: PartsOfRequest) -> SavedRecipe:
    """One version of a recipe."""
    return await parts.recipes.get(account.user_id, recipe_id)
