"""Plans."""

from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_api.tables import Table
from stoker_shared.database import UtcColumn


class PlanRow(Table, table=True):
    """A plan; only `checked_at` ever changes.

    `frozen` is text, not JSONB: its hash is over these very characters. `answer` is what the user was shown.
    """

    __tablename__ = "plans"

    id: str = Field(primary_key=True)
    owner: str = Field(foreign_key="users.id")
    name: str
    provider: str
    plan_hash: str
    frozen: str
    answer: dict[str, Any] = Field(sa_type=JSONB)
    environment: dict[str, str] = Field(sa_type=JSONB)
    is_launchable: bool
    created_at: datetime = Field(sa_type=UtcColumn)
    expires_at: datetime = Field(sa_type=UtcColumn)
    checked_at: datetime = Field(sa_type=UtcColumn)
