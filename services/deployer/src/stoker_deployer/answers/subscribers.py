"""Which question is answered by what."""

from stoker_deployer.answers.service import Answers
from stoker_deployer.ledger.budgets import Budgets
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.deployer import BUDGETS, HEALTH, INSPECT_MODEL, LOGS, OFFERS, SET_BUDGET


def subscribe(bus: Bus, answers: Answers, budgets: Budgets) -> None:
    """Register the answers."""
    answer(bus, OFFERS, answers.offers)
    answer(bus, INSPECT_MODEL, answers.inspect_model)
    answer(bus, HEALTH, answers.health)
    answer(bus, LOGS, answers.logs)
    answer(bus, BUDGETS, budgets.budgets)
    answer(bus, SET_BUDGET, budgets.set_budget)
