"""Objects on their way into the store, or out of it."""

from datetime import datetime

from sqlmodel import Field

from stoker_dataset_gateway.tables import Table
from stoker_shared.database import UtcColumn


class ObjectWrite(Table, table=True):
    """An object that may lie in the store without a row that wants it.

    Written before the first byte is sent and removed in the transaction that gives the object its row. Once
    `condemned_at` is set nobody may keep the object any more.
    """

    __tablename__ = "object_writes"

    object_key: str = Field(primary_key=True)
    purpose: str = Field(index=True)
    busy_until: datetime = Field(sa_type=UtcColumn, index=True)
    condemned_at: datetime | None = Field(default=None, sa_type=UtcColumn)
