"""Users and keys."""

from datetime import datetime

from sqlmodel import Field

from stoker_api.tables import Table
from stoker_shared.database import UtcColumn


class UserRow(Table, table=True):
    """Somebody who owns things."""

    __tablename__ = "users"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    is_admin: bool = False
    created_at: datetime = Field(sa_type=UtcColumn)


class ApiKeyRow(Table, table=True):
    """An API key, known only by its SHA-256."""

    __tablename__ = "api_keys"

    key_sha256: str = Field(primary_key=True)
    owner: str = Field(foreign_key="users.id", index=True)
    name: str
    created_at: datetime = Field(sa_type=UtcColumn)
    expires_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcColumn)
