"""The base of this service's tables."""

from sqlalchemy import MetaData
from sqlmodel import SQLModel


class Table(SQLModel):
    """Own metadata, so that tests may import several services."""

    metadata = MetaData()
