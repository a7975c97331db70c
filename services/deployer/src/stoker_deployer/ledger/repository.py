"""SQL of the ledger."""

from uuid import uuid4

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.tables import LedgerEntry

_BALANCES = text("""
SELECT account, sum(amount)::bigint AS balance FROM (
    SELECT debit AS account, amount FROM ledger_entries WHERE job_id = :job_id
    UNION ALL
    SELECT credit AS account, -amount FROM ledger_entries WHERE job_id = :job_id
) movements GROUP BY account
""")


class LedgerRepository:
    """Reads books and adds postings; runs in the caller's transaction."""

    async def open_book(self, session: AsyncSession, job_id: str, *, budget: int) -> Book:
        """The balances of a job as they stand."""
        rows = await session.exec(_BALANCES, params={"job_id": job_id})  # type: ignore[call-overload]
        return Book(job_id, budget=budget, balances={row.account: row.balance for row in rows})

    async def save(self, session: AsyncSession, book: Book) -> None:
        """Store the postings made since the book was opened.

        Raises:
            IntegrityError: one of them is stored already, so the caller's view of the job was stale.
        """
        for posting in book.postings:
            session.add(
                LedgerEntry(
                    entry_id=uuid4(),
                    job_id=posting.job_id,
                    attempt=posting.attempt,
                    kind=posting.kind,
                    debit=posting.debit,
                    credit=posting.credit,
                    amount=posting.amount,
                    at=posting.at,
                    key=posting.key,
                )
            )
        book.postings.clear()
        await session.flush()
