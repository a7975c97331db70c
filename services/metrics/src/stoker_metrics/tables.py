"""Base of this service's tables."""

from sqlalchemy import MetaData
from sqlmodel import SQLModel


class Table(SQLModel):
    """Tables of the schema `metrics`."""

    metadata = MetaData()
