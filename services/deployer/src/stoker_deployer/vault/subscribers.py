"""Which question about secrets is answered by what."""

from stoker_deployer.vault.service import Vault
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.deployer import REMOVE_SECRET, SECRETS, SET_SECRET, VAULT_KEY


def subscribe(bus: Bus, vault: Vault) -> None:
    """Register the answers."""
    answer(bus, VAULT_KEY, vault.vault_key)
    answer(bus, SET_SECRET, vault.set_secret)
    answer(bus, SECRETS, vault.secrets)
    answer(bus, REMOVE_SECRET, vault.remove_secret)
