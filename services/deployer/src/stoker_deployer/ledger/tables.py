"""The ledger's table. Rows are only ever added."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field

from stoker_deployer.jobs.tables import Table
from stoker_shared.database import UtcColumn


class LedgerEntry(Table, table=True):
    """`amount` micro-dollars went from account `credit` to account `debit`. `key` is unique."""

    __tablename__ = "ledger_entries"

    entry_id: UUID = Field(primary_key=True)
    job_id: str = Field(index=True)
    attempt: int
    kind: str
    debit: str
    credit: str
    amount: int = Field(sa_type=BigInteger)
    at: datetime = Field(sa_type=UtcColumn)
    key: str = Field(unique=True)
