"""SQL of the ledger."""

from dataclasses import asdict
from uuid import uuid4

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.jobs.tables import Table
from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.tables import LedgerEntry

_BALANCES = text("""
SELECT account, sum(amount)::bigint AS balance FROM (
    SELECT debit AS account, amount FROM ledger_entries WHERE job_id = :job_id
    UNION ALL
    SELECT credit AS account, -amount FROM ledger_entries WHERE job_id = :job_id
) movements GROUP BY account
""")
_INSERT_ENTRY = insert(Table.metadata.tables[str(LedgerEntry.__tablename__)])


class LedgerRepository:
    """Reads books and adds postings; runs in the caller's transaction."""

    async def open_book(self, session: AsyncSession, job_id: str, *, budget: int) -> Book:
        """The balances of a job as they stand."""
        rows = await session.execute(_BALANCES, params={"job_id": job_id})
        return Book(job_id, budget=budget, balances={row.account: row.balance for row in rows})

    async def save(self, session: AsyncSession, book: Book) -> None:
        """Store the postings made since the book was opened.

        Raises:
            IntegrityError: one of them is stored already, so the caller's view of the job was stale.
        """
        if not book.postings:
            return
        rows = [{"entry_id": uuid4(), **asdict(posting)} for posting in book.postings]
        await session.execute(_INSERT_ENTRY, params=rows)
        book.postings.clear()
