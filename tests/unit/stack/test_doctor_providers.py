"""What the doctor and `stoker providers` say of a provider."""

import pytest
from rich.console import Console

from stoker.stack.doctor_providers import findings_of
from stoker.stack.findings import Level
from stoker.terminal.tables import provider_table
from stoker_shared.rpc.deployer import ProviderHealth

NEEDS_KEY = ProviderHealth(
    provider="runpod",
    is_usable=False,
    is_set_up=False,
    detail="runpod: no key is set",
    next_step="Set a key: stoker secrets set runpod.",
)
REFUSED = ProviderHealth(provider="runpod", is_usable=False, detail="runpod: 401", next_step="Set a valid key.")
GOOD = ProviderHealth(provider="runpod", is_usable=True, detail="balance $12.50")


@pytest.mark.parametrize(
    ("health", "level", "words"),
    [
        (GOOD, Level.OK, "can be used"),
        (NEEDS_KEY, Level.OK, "not set up. Set a key: stoker secrets set runpod."),
        (REFUSED, Level.FAULT, "runpod: 401"),
    ],
)
def test_a_provider_without_a_key_is_no_fault(health: ProviderHealth, level: Level, words: str) -> None:
    (finding,) = findings_of(health)
    assert (finding.level, finding.what) == (level, words)


@pytest.mark.parametrize(("health", "word"), [(GOOD, "yes"), (NEEDS_KEY, "not set up"), (REFUSED, "no")])
def test_the_table_tells_what_is_not_set_up_from_what_cannot_be_used(health: ProviderHealth, word: str) -> None:
    console = Console(record=True, width=140)
    console.print(provider_table([health]))
    row = next(line for line in console.export_text().splitlines() if "runpod" in line)
    assert row.split("runpod", 1)[1].strip().startswith(word)
    assert health.next_step in row
