"""SQL of the ledger."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
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
_BALANCES_OF_MANY = text("""
SELECT job_id, account, sum(amount)::bigint AS balance FROM (
    SELECT job_id, debit AS account, amount FROM ledger_entries WHERE job_id = ANY(CAST(:job_ids AS text[]))
    UNION ALL
    SELECT job_id, credit AS account, -amount FROM ledger_entries WHERE job_id = ANY(CAST(:job_ids AS text[]))
) movements GROUP BY job_id, account
""")
_INSERT_ENTRY = insert(Table.metadata.tables[str(LedgerEntry.__tablename__)])


class LedgerRepository:
    """Reads books and adds postings; runs in the caller's transaction."""

    async def open_book(self, session: AsyncSession, job_id: str, *, budget: int) -> Book:
        """The balances of a job as they stand."""
        rows = await session.execute(_BALANCES, params={"job_id": job_id})
        return Book(job_id, budget=budget, balances={row.account: row.balance for row in rows})

    async def open_books(self, session: AsyncSession, budgets: Mapping[str, int]) -> dict[str, Book]:
        """The balances of many jobs, by job; `budgets` are theirs."""
        balances: dict[str, dict[str, int]] = defaultdict(dict)
        for row in await session.execute(_BALANCES_OF_MANY, params={"job_ids": list(budgets)}):
            balances[row.job_id][row.account] = row.balance
        return {job_id: Book(job_id, budget=budget, balances=balances[job_id]) for job_id, budget in budgets.items()}

    async def save_all(self, session: AsyncSession, books: Sequence[Book]) -> None:
        """As `save`, for many at once. For postings that stay within what their attempts hold.

        Raises:
            IntegrityError: as `save`.
        """
        rows = [{"entry_id": uuid4(), **asdict(posting)} for book in books for posting in book.postings]
        if rows:
            await session.execute(_INSERT_ENTRY, params=rows)
        for book in books:
            book.postings.clear()

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
