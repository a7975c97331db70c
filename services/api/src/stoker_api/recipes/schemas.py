"""Recipes as users send and see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from stoker_shared.recipe import Recipe

RecipeName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class SaveRecipe(BaseModel):
    """A recipe under a name. A name that exists already gets a new version."""

    model_config = ConfigDict(extra="forbid")

    name: RecipeName
    recipe: Recipe


class SavedRecipe(BaseModel):
    """One version of a saved recipe."""

    recipe_id: str
    name: str
    version: int
    recipe: Recipe
    created_at: datetime


class RecipeList(BaseModel):
    """Newest first."""

    recipes: list[SavedRecipe]
