"""Pods fetch the trainer that they were launched with, by version and SHA-256, with their job token."""

import hashlib
from pathlib import Path

import pytest

from stoker_shared.rpc.dataset_gateway import REVOKE, TRAINER_BUNDLE, RevokeAttempt, TrainerBundleQuery
from stoker_trainer.bundle import write_bundle
from tests.integration.dataset_gateway.conftest import Gateway, JobAccess, World
from tests.integration.dataset_gateway.parts import new_attempt


@pytest.fixture(scope="module")
def bundle(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The gateway runs with the bundle of these sources."""
    path, built = write_bundle(tmp_path_factory.mktemp("bundle"))
    gateway.stop()
    gateway.start(trainer_bundle=str(path))
    return built.content


def bearer(access: JobAccess, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access.token}", **headers}


async def test_the_deployer_learns_what_new_attempts_get_and_a_pod_fetches_it(world: World, bundle: bytes) -> None:
    facts = await world.peers.ask(TRAINER_BUNDLE, TrainerBundleQuery())
    assert (facts.sha256, facts.size_bytes) == (hashlib.sha256(bundle).hexdigest(), len(bundle))
    assert facts.url.endswith(f"/v1/trainer/{facts.version}/{facts.sha256}")
    access = (await new_attempt(world)).access
    whole = await world.http.get(facts.url, headers=bearer(access))
    assert (whole.status_code, whole.content) == (200, bundle)
    assert whole.headers["etag"] == f'"{facts.sha256}"'
    assert f"stoker_trainer-{facts.version}-py3-none-any.whl" in whole.headers["content-disposition"]
    head = await world.http.head(facts.url, headers=bearer(access))
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(bundle)), b"")
    rest = await world.http.get(
        facts.url, headers=bearer(access, Range="bytes=1000-", **{"If-Range": f'"{facts.sha256}"'})
    )
    assert (rest.status_code, rest.content) == (206, bundle[1000:])
    stale = await world.http.get(facts.url, headers=bearer(access, Range="bytes=1000-", **{"If-Range": '"other"'}))
    assert (stale.status_code, stale.content) == (200, bundle)
    outside = await world.http.get(facts.url, headers=bearer(access, Range="bytes=999999999-"))
    assert outside.status_code == 416


async def test_without_a_live_token_or_by_another_name_there_is_none(world: World, bundle: bytes) -> None:
    facts = await world.peers.ask(TRAINER_BUNDLE, TrainerBundleQuery())
    access = (await new_attempt(world)).access
    assert (await world.http.get(facts.url)).status_code == 401
    assert (await world.http.get(facts.url, headers={"Authorization": f"Bearer {'x' * 43}"})).status_code == 401
    base = f"{world.gateway.url}/v1/trainer"
    for path in (f"9.9.9/{facts.sha256}", f"{facts.version}/{'0' * 64}", f"..%2F..%2Fetc/{facts.sha256}"):
        assert (await world.http.get(f"{base}/{path}", headers=bearer(access))).status_code == 404, path
    assert (await world.http.get(f"{base}/{facts.version}/passwd", headers=bearer(access))).status_code == 422
    await world.peers.ask(REVOKE, RevokeAttempt(job_id=access.job_id, attempt=1))
    assert (await world.http.get(facts.url, headers=bearer(access))).status_code == 401


async def test_an_earlier_bundle_stays_for_attempts_that_were_launched_with_it(world: World, bundle: bytes) -> None:
    before = await world.peers.ask(TRAINER_BUNDLE, TrainerBundleQuery())
    world.gateway.stop()
    world.gateway.start()
    with pytest.raises(Exception, match="trainer bundle"):
        await world.peers.ask(TRAINER_BUNDLE, TrainerBundleQuery())
    access = (await new_attempt(world)).access
    assert (await world.http.get(before.url, headers=bearer(access))).content == bundle


def test_a_file_that_is_no_bundle_stops_the_start_with_the_name_of_the_setting(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.stop()
    wrong = tmp_path / "wrong.whl"
    wrong.write_bytes(b"no wheel")
    before = len(gateway.log())
    with pytest.raises(AssertionError):
        gateway.start(trainer_bundle=str(wrong))
    said = gateway.log()[before:]
    assert "STOKER_DATASET_GATEWAY_TRAINER_BUNDLE" in said
    assert "Traceback" not in said
    gateway.start()
