"""What is kept of a job and for how long, and who may delete it."""

import pytest

from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.dataset_gateway import (
    DELETE_ARTIFACT,
    LIST_ARTIFACTS,
    OPEN_ARTIFACT,
    REVOKE,
    DeleteArtifact,
    ListArtifacts,
    OpenArtifact,
    RevokeAttempt,
)
from tests.integration.dataset_gateway.conftest import JobAccess, World
from tests.integration.dataset_gateway.parts import new_attempt
from tests.integration.dataset_gateway.test_whole_way import events

SETTINGS = {"sweep_every": "PT0.5S", "keep_artifacts": "P90D"}
WHOLE = ("optimizer.pt", "adapter_model.safetensors", "complete.json")


async def listed(world: World, job_id: str) -> list[tuple[int, str]]:
    found = await world.peers.ask(LIST_ARTIFACTS, ListArtifacts(owner=world.owner, job_id=job_id))
    return [(entry.attempt, entry.name) for entry in found.artifacts]


async def store(world: World, access: JobAccess, *names: str) -> None:
    for name in names:
        assert (await world.put_artifact(access, name, name.encode())).status_code == 201


async def checkpoint(world: World, access: JobAccess, step: int, *, names: tuple[str, ...] = WHOLE) -> None:
    await store(world, access, *(f"checkpoints/{step}/{name}" for name in names))


async def prune(world: World, access: JobAccess, keep: int | str) -> int:
    url = f"{world.gateway.url}/v1/jobs/{access.job_id}/artifacts/checkpoints?keep={keep}"
    answer = await world.http.delete(url, headers={"Authorization": f"Bearer {access.token}"})
    return int(answer.json()["deleted_files"]) if answer.status_code == 200 else -answer.status_code


async def test_an_owner_deletes_a_file_and_nobody_else_can(world: World) -> None:
    access = (await new_attempt(world)).access
    await store(world, access, "a.bin", "b.bin")
    found = await world.peers.ask(LIST_ARTIFACTS, ListArtifacts(owner=world.owner, job_id=access.job_id))
    first = found.artifacts[0].artifact_id
    opened = await world.peers.ask(OPEN_ARTIFACT, OpenArtifact(owner=world.owner, artifact_id=first))
    world.gateway.secrets.append(opened.download_url.partition("token=")[2])
    with pytest.raises(Exception, match=first):
        await world.peers.ask(DELETE_ARTIFACT, DeleteArtifact(owner=new_identifier("user"), artifact_id=first))
    await world.peers.ask(DELETE_ARTIFACT, DeleteArtifact(owner=world.owner, artifact_id=first))
    assert await listed(world, access.job_id) == [(1, "b.bin")]
    key = await world.only_object(f"artifacts/{access.job_id}/")
    assert key.endswith("/b.bin")
    assert (await world.http.get(opened.download_url)).status_code == 404
    (told,) = await events(world.servers.nats, f"evt.artifact.{access.job_id}.deleted", 1)
    assert (told["name"], told["why"], told["sequence"]) == ("a.bin", "owner", 3)
    with pytest.raises(Exception, match=first):
        await world.peers.ask(DELETE_ARTIFACT, DeleteArtifact(owner=world.owner, artifact_id=first))


async def test_a_deletion_while_the_store_is_away_is_made_up_for(world: World) -> None:
    access = (await new_attempt(world)).access
    await store(world, access, "a.bin")
    found = await world.peers.ask(LIST_ARTIFACTS, ListArtifacts(owner=world.owner, job_id=access.job_id))
    server = world.servers.bucket.server
    server.kill()
    request = DeleteArtifact(owner=world.owner, artifact_id=found.artifacts[0].artifact_id)
    await world.peers.clients["api"].ask(DELETE_ARTIFACT, request)
    assert await listed(world, access.job_id) == []
    server.start()
    await world.until(lambda: world.keys(f"artifacts/{access.job_id}/") == [])


async def test_a_trainer_keeps_its_newest_whole_checkpoints(world: World) -> None:
    access = (await new_attempt(world)).access
    await store(world, access, "adapter.bin", "checkpoints/notes.txt")
    for step in (9, 10, 100):
        await checkpoint(world, access, step)
    await checkpoint(world, access, 50, names=("optimizer.pt",))
    await checkpoint(world, access, 110, names=("optimizer.pt",))
    assert await prune(world, access, 2) == 3
    kept = {name.split("/")[1] for _, name in await listed(world, access.job_id) if name.count("/") == 2}
    assert kept == {"10", "50", "100", "110"}
    assert await prune(world, access, 1) == 4
    assert await prune(world, access, 1) == 0
    kept = {name.split("/")[1] for _, name in await listed(world, access.job_id) if name.count("/") == 2}
    assert kept == {"100", "110"}
    assert {"adapter.bin", "checkpoints/notes.txt"} <= {name for _, name in await listed(world, access.job_id)}
    assert [await prune(world, access, keep) for keep in (0, "x")] == [-422, -422]


async def test_checkpoints_of_an_earlier_attempt_give_way_to_those_of_a_later_one(world: World) -> None:
    first = (await new_attempt(world)).access
    await checkpoint(world, first, 20)
    second = (await new_attempt(world, job_id=first.job_id, attempt=2)).access
    await checkpoint(world, second, 5)
    assert await prune(world, second, 2) == 0
    await checkpoint(world, second, 10)
    assert await prune(world, second, 2) == 3
    assert {attempt for attempt, _ in await listed(world, first.job_id)} == {2}
    foreign = (await new_attempt(world)).access
    assert await prune(world, JobAccess(first.job_id, 1, foreign.token), 1) == -403


async def age(world: World, job_id: str, interval: str) -> None:
    """As if all that is known of the job had happened so much earlier."""
    await world.sql(f"UPDATE artifacts SET created_at = created_at - interval '{interval}' WHERE job_id = '{job_id}'")
    for table, column in (("job_tokens", "revoked_at"), ("attempts", "revoked_at")):
        await world.sql(f"UPDATE {table} SET {column} = {column} - interval '{interval}' WHERE job_id = '{job_id}'")


async def test_retention_deletes_checkpoints_of_ended_jobs_first_and_results_by_their_own_rule(world: World) -> None:
    ended, recent, running = [(await new_attempt(world)).access for _ in range(3)]
    for access in (ended, recent, running):
        await store(world, access, "adapter.bin")
        await checkpoint(world, access, 5)
    for access in (ended, recent):
        await world.peers.ask(REVOKE, RevokeAttempt(job_id=access.job_id, attempt=1))
    await age(world, recent.job_id, "13 days 23 hours")
    await age(world, running.job_id, "300 days")
    await age(world, ended.job_id, "14 days 1 hour")
    await world.until_sql(f"SELECT count(*) = 1 FROM artifacts WHERE job_id = '{ended.job_id}'")
    assert await listed(world, ended.job_id) == [(1, "adapter.bin")]
    await world.only_object(f"artifacts/{ended.job_id}/")
    told = await events(world.servers.nats, f"evt.artifact.{ended.job_id}.deleted", 3)
    assert {event["why"] for event in told} == {"retention"}
    assert "deleted by retention" in world.gateway.log()
    await age(world, ended.job_id, "76 days")
    await world.until_sql(f"SELECT count(*) = 0 FROM artifacts WHERE job_id = '{ended.job_id}'")
    assert len(await listed(world, recent.job_id)) == 4
    assert len(await listed(world, running.job_id)) == 4
