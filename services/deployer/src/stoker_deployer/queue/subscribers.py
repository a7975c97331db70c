"""Which question is answered by what."""

from stoker_deployer.queue.answers import QueueAnswers
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.deployer import QUEUE


def subscribe(bus: Bus, answers: QueueAnswers) -> None:
    """Register the answer."""
    answer(bus, QUEUE, answers.queue)
