"""Answers about budgets of users and projects, and setting them."""

from stoker_deployer.ledger.errors import BudgetMisnamed
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.rpc.deployer import BudgetFacts, BudgetList, BudgetsQuery, SetBudget


class Budgets:
    """What an owner's budgets are."""

    def __init__(self, database: Database, ledger: LedgerRepository, *, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock

    async def budgets(self, query: BudgetsQuery) -> BudgetList:
        """All budgets of an owner that were set or drawn from; the user's own is always among them."""
        async with self._database.transaction() as session:
            found = await self._ledger.budgets_of(session, owner=query.owner)
        if not any(budget.kind == "user" for budget in found):
            found = [BudgetFacts(kind="user"), *found]
        return BudgetList(budgets=found)

    async def set_budget(self, order: SetBudget) -> BudgetFacts:
        """Set a limit, or take it away. What is committed already stays; no running attempt is stopped.

        Raises:
            BudgetMisnamed: a project's budget without a name, or a user's with one.
        """
        if (order.kind == "project") != bool(order.name):
            raise BudgetMisnamed(order.kind)
        async with self._database.transaction() as session:
            await self._ledger.set_limit(session, order, at=self._clock.now())
            found = await self._ledger.budgets_of(session, owner=order.owner)
        return next(budget for budget in found if (budget.kind, budget.name) == (order.kind, order.name))
