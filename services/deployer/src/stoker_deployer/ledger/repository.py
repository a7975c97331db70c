"""SQL of the ledger."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.jobs.tables import Job, Table
from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.errors import BudgetRowMissing
from stoker_deployer.ledger.levels import Level, LevelKind, levels_of
from stoker_deployer.ledger.tables import LedgerEntry
from stoker_shared.job_state import MACHINE_STATUSES
from stoker_shared.rpc.deployer import BudgetFacts, SetBudget

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
_LEVELS = text("""
SELECT kind, limit_micro_usd, committed_micro_usd FROM budgets
WHERE owner = :owner AND (kind, name) IN (('user', ''), ('project', :project))
""")
_LEVELS_OF_MANY = text("""
SELECT kind, owner, name, limit_micro_usd, committed_micro_usd FROM budgets WHERE owner = ANY(CAST(:owners AS text[]))
""")
# One row after the other, the user's first, in every transaction: two of them never wait for each other in a circle.
_LOCK_LEVELS = text("""
INSERT INTO budgets AS known (kind, owner, name, limit_micro_usd, committed_micro_usd, updated_at)
VALUES ('user', :owner, '', NULL, 0, :now), ('project', :owner, :project, NULL, 0, :now)
ON CONFLICT (kind, owner, name) DO UPDATE SET updated_at = known.updated_at
RETURNING kind, limit_micro_usd, committed_micro_usd
""")
_DRAW = text("""
UPDATE budgets SET committed_micro_usd = committed_micro_usd + :drawn, updated_at = :now
WHERE owner = :owner AND (kind, name) IN (('user', ''), ('project', :project))
RETURNING kind
""")
# What jobs with a machine hold and may give back.
_HELD = text("""
SELECT coalesce(sum(CASE WHEN e.debit LIKE 'held:%' THEN e.amount ELSE -e.amount END), 0)::bigint AS by_user,
       coalesce(sum(CASE WHEN e.debit LIKE 'held:%' THEN e.amount ELSE -e.amount END)
                FILTER (WHERE coalesce(j.command ->> 'project', 'default') = :project), 0)::bigint AS by_project
FROM jobs j JOIN ledger_entries e USING (job_id)
WHERE j.owner = :owner AND j.status = ANY(:active) AND (e.debit LIKE 'held:%' OR e.credit LIKE 'held:%')
""")
_BUDGETS = text("""
SELECT b.kind, b.name, b.limit_micro_usd, b.committed_micro_usd, coalesce(sum(h.held), 0)::bigint AS held_micro_usd
FROM budgets b LEFT JOIN (
    SELECT coalesce(j.command ->> 'project', 'default') AS project,
           CASE WHEN e.debit LIKE 'held:%' THEN e.amount ELSE -e.amount END AS held
    FROM jobs j JOIN ledger_entries e USING (job_id)
    WHERE j.owner = :owner AND j.status = ANY(:active) AND (e.debit LIKE 'held:%' OR e.credit LIKE 'held:%')
) h ON b.kind = 'user' OR b.name = h.project
WHERE b.owner = :owner
GROUP BY b.kind, b.owner, b.name ORDER BY b.kind DESC, b.name
""")
_SET_LIMIT = text("""
INSERT INTO budgets (kind, owner, name, limit_micro_usd, committed_micro_usd, updated_at)
VALUES (:kind, :owner, :name, :limit, 0, :now)
ON CONFLICT (kind, owner, name) DO UPDATE SET limit_micro_usd = excluded.limit_micro_usd, updated_at = :now
""")
_INSERT_ENTRY = insert(Table.metadata.tables[str(LedgerEntry.__tablename__)])
_ACTIVE = [status.value for status in MACHINE_STATUSES]


class LedgerRepository:
    """Reads books and adds postings; runs in the caller's transaction."""

    async def open_book(
        self, session: AsyncSession, job_id: str, *, budget: int, levels: tuple[Level, ...] = ()
    ) -> Book:
        """The balances of a job as they stand."""
        rows = await session.execute(_BALANCES, params={"job_id": job_id})
        balances = {row.account: row.balance for row in rows}
        return Book(job_id, budget=budget, balances=balances, levels=levels)

    async def levels(
        self, session: AsyncSession, *, owner: str, project: str, is_waiting: bool = False
    ) -> tuple[Level, ...]:
        """The budgets above a job, the user's first; for one that waits also what others hold of those with a limit."""
        values = {"owner": owner, "project": project}
        found = _as_read(levels_of(owner, project), (await session.execute(_LEVELS, params=values)).all())
        if not is_waiting or all(level.limit is None for level in found):
            return found
        held = (await session.execute(_HELD, params={**values, "active": _ACTIVE})).one()
        by_kind = {LevelKind.USER: held.by_user, LevelKind.PROJECT: held.by_project}
        return tuple(replace(level, held_by_others=by_kind[level.kind]) for level in found)

    async def budgets_of(self, session: AsyncSession, *, owner: str) -> list[BudgetFacts]:
        """All budgets of an owner, the user's first."""
        rows = await session.execute(_BUDGETS, params={"owner": owner, "active": _ACTIVE})
        return [BudgetFacts(**row) for row in rows.mappings()]

    async def set_limit(self, session: AsyncSession, order: SetBudget, *, at: datetime) -> None:
        """Set a limit, or take it away."""
        values = {"kind": order.kind, "owner": order.owner, "name": order.name, "limit": order.limit_micro_usd}
        await session.execute(_SET_LIMIT, params={**values, "now": at})

    async def lock(self, session: AsyncSession, book: Book, *, at: datetime) -> None:
        """Read the budgets above the job anew and hold them until the commit; before a reservation that must fit."""
        if book.levels:
            rows = (await session.execute(_LOCK_LEVELS, params={**_keys(book), "now": at})).all()
            book.levels = _as_read(book.levels, rows)

    async def open_books(self, session: AsyncSession, jobs: Sequence[Job]) -> dict[str, Book]:
        """The balances of many jobs that hold machines, by job, under the budgets above them."""
        balances: dict[str, dict[str, int]] = defaultdict(dict)
        for row in await session.execute(_BALANCES_OF_MANY, params={"job_ids": [job.job_id for job in jobs]}):
            balances[row.job_id][row.account] = row.balance
        known: dict[str, list[Any]] = defaultdict(list)
        for row in await session.execute(_LEVELS_OF_MANY, params={"owners": sorted({job.owner for job in jobs})}):
            known[row.owner].append(row)
        return {
            job.job_id: Book(
                job.job_id,
                budget=job.budget_micro_usd,
                balances=balances[job.job_id],
                levels=_levels_above(job, known[job.owner]),
            )
            for job in jobs
        }

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
        """Store the postings made since the book was opened, and move the budgets above it by as much.

        Raises:
            IntegrityError: one of them is stored already, so the caller's view of the job was stale.
        """
        if not book.postings:
            return
        rows = [{"entry_id": uuid4(), **asdict(posting)} for posting in book.postings]
        await session.execute(_INSERT_ENTRY, params=rows)
        if book.levels and book.drawn:
            await self._draw(session, book, at=book.postings[-1].at)
        book.postings.clear()

    async def _draw(self, session: AsyncSession, book: Book, *, at: datetime) -> None:
        drawn, book.drawn = book.drawn, 0
        await self.lock(session, book, at=at)
        moved = (await session.execute(_DRAW, params={**_keys(book), "drawn": drawn, "now": at})).all()
        if len(moved) != len(book.levels):
            raise BudgetRowMissing(book.job_id)
        book.levels = tuple(replace(level, committed=level.committed + drawn) for level in book.levels)


def _keys(book: Book) -> dict[str, Any]:
    user, project = book.levels
    return {"owner": user.owner, "project": project.name}


def _levels_above(job: Job, rows: Sequence[Any]) -> tuple[Level, ...]:
    names = ("", job.project_name)
    return _as_read(levels_of(job.owner, job.project_name), [row for row in rows if row.name in names])


def _as_read(levels: tuple[Level, ...], rows: Any) -> tuple[Level, ...]:
    by_kind = {row.kind: row for row in rows}
    return tuple(
        replace(level, limit=row.limit_micro_usd, committed=row.committed_micro_usd)
        if (row := by_kind.get(level.kind.value))
        else level
        for level in levels
    )
