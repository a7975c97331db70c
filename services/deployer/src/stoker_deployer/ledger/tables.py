"""The ledger's tables."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field

from stoker_deployer.jobs.tables import Table
from stoker_shared.database import UtcColumn


class LedgerEntry(Table, table=True):
    """`amount` micro-dollars went from account `credit` to account `debit`. `key` is unique. Rows are only added."""

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


class Budget(Table, table=True):
    """What a user, or a project of a user, may spend in all, and what is held or spent of it. See `levels.py`."""

    __tablename__ = "budgets"

    kind: str = Field(primary_key=True)
    owner: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    limit_micro_usd: int | None = Field(default=None, sa_type=BigInteger)
    committed_micro_usd: int = Field(default=0, sa_type=BigInteger)
    updated_at: datetime = Field(sa_type=UtcColumn)
