"""Base of this service's tables; their own metadata, so that a test may import several services."""

from sqlalchemy import MetaData
from sqlmodel import SQLModel


class Table(SQLModel):
    """Base of all tables of the api."""

    metadata = MetaData()
