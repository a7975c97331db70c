"""Check of the providers behind a running stack, asked of its api as a user would."""

import httpx
from pydantic import ValidationError

from stoker.stack.findings import Finding, fault, ok, warning
from stoker.stack.services import StackFacts
from stoker.stack.stack_file import StackFile
from stoker_shared.rpc.deployer import ProviderHealth, ProvidersHealth

_SECONDS = 20.0


async def check_providers(facts: StackFacts, running: StackFile) -> list[Finding]:
    """Whether each can be used, and which machines there bear a name of ours that nobody knows."""
    log = facts.layout.log_file("deployer")
    try:
        found = await _ask(running)
    except (httpx.HTTPError, OSError, KeyError, ValidationError) as error:
        return [fault("providers", f"the api does not tell ({type(error).__name__})", advice=f"See {log}.")]
    return [finding for health in found.providers for finding in findings_of(health)]


async def _ask(running: StackFile) -> ProvidersHealth:
    key = running.api_key_file.read_text(encoding="utf-8").strip()
    async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as client:
        url = f"{running.urls['api'].rstrip('/')}/v1/providers"
        answer = await client.get(url, headers={"Authorization": f"Bearer {key}"})
        answer.raise_for_status()
        return ProvidersHealth.model_validate_json(answer.content)


def findings_of(health: ProviderHealth) -> list[Finding]:
    """What is to be said of one of them. One that waits for a key is no fault."""
    subject = f"provider {health.provider}"
    first = _first(subject, health)
    return [
        first,
        *(
            warning(
                subject,
                f"has a machine {machine.name} that no job of this installation knows, "
                f"since {machine.first_seen_at.isoformat(timespec='seconds')}",
                advice="Another installation may use the account. If it is nobody's, end it there: it costs money.",
            )
            for machine in health.unknown_machines
        ),
    ]


def _first(subject: str, health: ProviderHealth) -> Finding:
    if health.is_usable:
        return ok(subject, "can be used")
    if not health.is_set_up:
        return ok(subject, f"not set up. {health.next_step}")
    return fault(subject, health.detail, advice=health.next_step)
