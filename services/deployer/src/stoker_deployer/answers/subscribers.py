"""Which question is answered by what."""

from stoker_deployer.answers.service import Answers
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.deployer import HEALTH, INSPECT_MODEL, LOGS, OFFERS


def subscribe(bus: Bus, answers: Answers) -> None:
    """Register the answers."""
    answer(bus, OFFERS, answers.offers)
    answer(bus, INSPECT_MODEL, answers.inspect_model)
    answer(bus, HEALTH, answers.health)
    answer(bus, LOGS, answers.logs)
