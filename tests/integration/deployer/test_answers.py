"""What the deployer answers over RPC."""

import pytest

from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.rpc.deployer import (
    HEALTH,
    INSPECT_MODEL,
    LOGS,
    OFFERS,
    HealthQuery,
    InspectModel,
    MachineLogsQuery,
    OffersQuery,
)
from tests.integration.deployer.world import World


async def test_offers_of_all_providers(world: World) -> None:
    await world.start_deployer()
    listed = await world.peers.ask(OFFERS, OffersQuery())
    assert [(offer.provider, offer.gpu_type, offer.gpu_count) for offer in listed.offers] == [("local", "cpu", 0)]
    assert listed.faults == []


async def test_a_provider_that_cannot_be_asked_is_named(world: World) -> None:
    await world.start_deployer()
    world.simulator.break_next("offers", "server_error", times=2)
    listed = await world.peers.ask(OFFERS, OffersQuery())
    health = await world.peers.ask(HEALTH, HealthQuery())
    assert listed.offers == []
    assert [(fault.provider, fault.code) for fault in listed.faults] == [("local", "provider_outcome_unknown")]
    assert [(found.provider, found.is_usable) for found in health.providers] == [("local", False)]


async def test_an_unknown_provider_is_refused(world: World) -> None:
    await world.start_deployer()
    with pytest.raises(RemoteRefusal) as refused:
        await world.peers.ask(OFFERS, OffersQuery(provider="runpod"))
    assert refused.value.remote_code == "provider_not_configured"


async def test_models(world: World) -> None:
    await world.start_deployer()
    facts = await world.peers.ask(INSPECT_MODEL, InspectModel(provider="local", name_or_path="tiny"))
    assert facts.parameters == 800_000
    with pytest.raises(RemoteRefusal) as refused:
        await world.peers.ask(INSPECT_MODEL, InspectModel(provider="local", name_or_path="nowhere"))
    assert (refused.value.remote_code, refused.value.remote_status) == ("model_not_found", 404)


async def test_logs_are_for_the_owner(world: World) -> None:
    await world.start_deployer()
    command = await world.launch()
    query = MachineLogsQuery(owner=command.owner, job_id=command.job_id)
    await world.peers.until_told(command.job_id, "machine_provisioned")
    piece = await world.peers.ask(LOGS, query)
    assert piece.text == f"hello from {command.job_id}-1\n"
    assert (await world.peers.ask(LOGS, query.model_copy(update={"offset": piece.next_offset}))).text == ""
    with pytest.raises(RemoteRefusal) as refused:
        await world.peers.ask(LOGS, query.model_copy(update={"owner": "user-00000000000000bb"}))
    assert refused.value.remote_status == 404


async def test_nobody_answers_without_a_deployer(world: World) -> None:
    with pytest.raises(ServiceUnavailable):
        await world.peers.ask(HEALTH, HealthQuery())
