"""RPC: mint, revoke."""

from stoker_dataset_gateway.tokens.service import TokenService
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.dataset_gateway import MINT, REVOKE


def answer_tokens(bus: Bus, service: TokenService) -> None:
    """Register on the bus."""
    answer(bus, MINT, service.mint)
    answer(bus, REVOKE, service.revoke)
