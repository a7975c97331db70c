"""Saved recipes."""

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_api.tables import Table
from stoker_shared.database import UtcColumn


class RecipeRow(Table, table=True):
    """One version of a recipe; never changed."""

    __tablename__ = "recipes"
    __table_args__ = (UniqueConstraint("owner", "name", "version"),)

    id: str = Field(primary_key=True)
    owner: str = Field(foreign_key="users.id")
    name: str
    version: int
    document: dict[str, Any] = Field(sa_type=JSONB)
    created_at: datetime = Field(sa_type=UtcColumn)
