"""Trainer bundles."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from stoker_dataset_gateway.tables import Table
from stoker_shared.database import UtcColumn


class TrainerBundle(Table, table=True):
    """A bundle that some attempt may have been launched with; none is ever taken away."""

    __tablename__ = "trainer_bundles"

    sha256: str = Field(primary_key=True)
    version: str
    filename: str
    size_bytes: int = Field(sa_type=sa.BigInteger)
    object_key: str
    created_at: datetime = Field(sa_type=UtcColumn)
