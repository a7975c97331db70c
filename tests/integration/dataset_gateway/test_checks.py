"""The check after an upload goes on whatever dies, and its verdict is given once."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from stoker.stack.standalone import RunningObjectStore, RunningPostgres
from stoker_dataset_gateway.checking import CheckLimits, CheckResult
from stoker_dataset_gateway.checking.checker import Checker, StoredFile
from stoker_dataset_gateway.objects.service import ObjectWriter
from stoker_dataset_gateway.storage import ObjectStore
from stoker_dataset_gateway.uploads.checks import CheckRules, CheckRunner
from stoker_dataset_gateway.uploads.remains import Remains
from stoker_dataset_gateway.uploads.verdicts import News, Verdicts
from stoker_shared.clock import SystemClock
from stoker_shared.database import Database
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.rpc.dataset_gateway import DESCRIBE, LIST, DescribeDataset, ListDatasets, UploadOpened
from tests.integration.dataset_gateway.conftest import Gateway, Servers, World, environment_of, jsonl, upload_id
from tests.support.ports import free_port

SETTINGS = {"sweep_every": "PT0.5S", "write_lease": "PT3S", "upload_lease": "PT3S"}
ROW_COUNT = 2_000


@dataclass
class HeldCheck:
    """A check that is under way and gets no further until `go_on`."""

    opened: UploadOpened
    content: bytes
    process: psutil.Process

    def go_on(self) -> None:
        """Let it go on, if it still is; nobody may leave a process that is held."""
        with suppress(psutil.NoSuchProcess):
            self.process.resume()


@asynccontextmanager
async def held_check(world: World, mark: str) -> AsyncIterator[HeldCheck]:
    """Send a file whose check is held before its first row: the process that waits warm for it is stopped."""
    await world.stored()
    (process,) = checking_processes(world.gateway)
    process.suspend()
    content = jsonl([{"prompt": f"{mark} question {number}", "completion": "a" * 200} for number in range(ROW_COUNT)])
    opened = await world.open_upload(content)
    held = HeldCheck(opened, content, process)
    try:
        assert (await world.patch(opened, content, offset=0)).status_code == 204
        await world.until_sql(f"SELECT held_by IS NOT NULL FROM uploads WHERE id = '{upload_id(opened)}'")
        assert await state_of(world, opened) == "checking"
        yield held
    finally:
        held.go_on()


def checking_processes(gateway: Gateway) -> list[psutil.Process]:
    """The children that check files, warm or at work."""
    children = psutil.Process(gateway.pid).children()
    return [child for child in children if any("spawn_main" in word for word in child.cmdline())]


async def state_of(world: World, opened: UploadOpened) -> str:
    """What is told of an upload."""
    return str((await world.tus("GET", opened)).json()["state"])


async def told(world: World, opened: UploadOpened) -> int:
    """How many events there are of a version."""
    subject = f"evt.dataset.{opened.dataset_version_id}.%"
    return int((await world.sql(f"SELECT count(*) FROM outbox WHERE subject LIKE '{subject}'"))[0][0])


@pytest.fixture
def replica(servers: Servers, gateway: Gateway, tmp_path: Path) -> Iterator[Gateway]:
    """A second gateway on the same database and store."""
    port = free_port()
    url = servers.database.url("dataset_gateway")
    second = Gateway(environment_of(servers, url=url, port=port), port, tmp_path / "replica.log")
    try:
        yield second
    finally:
        second.stop()
        sys.stderr.write(second.log()[-2000:])


async def test_while_a_check_goes_on_the_version_is_not_listed_and_the_gateway_answers(world: World) -> None:
    async with held_check(world, "listed") as check:
        question = DescribeDataset(owner=world.owner, dataset_version_id=check.opened.dataset_version_id)
        assert (await world.peers.ask(DESCRIBE, question)).state == "checking"
        listed = (await world.peers.ask(LIST, ListDatasets(owner=world.owner))).datasets
        assert check.opened.dataset_version_id not in {item.dataset_version_id for item in listed}
        check.go_on()
        verdict = await world.verdict(check.opened)
    assert (verdict["state"], verdict["facts"]["statistics"]["rows"]) == ("stored", ROW_COUNT)
    now_listed = (await world.peers.ask(LIST, ListDatasets(owner=world.owner))).datasets
    assert len(now_listed) == len(listed) + 1


async def test_a_gateway_killed_in_a_check_checks_again_and_tells_once(world: World) -> None:
    async with held_check(world, "killed") as check:
        opened = check.opened
        world.gateway.stop(signal.SIGKILL)
    assert await world.sql(f"SELECT state FROM uploads WHERE id = '{upload_id(opened)}'") == [("checking",)]
    world.gateway.start(**SETTINGS)
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == check.content
    assert await told(world, opened) == 1
    await world.until_nothing_remains(opened)
    await world.until(lambda: not check.process.is_running())


@pytest.mark.slow
async def test_a_check_of_a_frozen_replica_is_taken_over_and_its_late_verdict_is_refused(
    world: World, replica: Gateway
) -> None:
    assert world.gateway.process is not None
    async with held_check(world, "frozen") as check:
        opened = check.opened
        world.gateway.process.send_signal(signal.SIGSTOP)
        try:
            replica.start(**SETTINGS)
            verdict = await world.verdict(opened, port=replica.port)
        finally:
            world.gateway.process.send_signal(signal.SIGCONT)
    assert verdict["state"] == "stored"
    assert await world.verdict(opened) == verdict
    identifier = upload_id(opened)
    await world.until(lambda: f'"upload_id":"{identifier}"' in world.gateway.log().replace('": "', '":"'))
    assert await told(world, opened) == 1
    assert world.content(opened.dataset_version_id) == check.content


async def test_a_check_outlives_an_outage_of_the_store(world: World, object_store_server: RunningObjectStore) -> None:
    async with held_check(world, "store") as check:
        object_store_server.kill()
        check.go_on()
        await world.until(lambda: "check put off" in world.gateway.log())
        assert await state_of(world, check.opened) == "checking"
        object_store_server.start()
        assert (await world.verdict(check.opened))["state"] == "stored"
    assert await told(world, check.opened) == 1


async def test_a_check_outlives_an_outage_of_the_database(world: World, postgres: RunningPostgres) -> None:
    async with held_check(world, "database") as check:
        postgres.kill()
        away = await world.tus("GET", check.opened)
        assert (away.status_code, away.json()["code"]) == (503, "temporarily_unavailable")
        check.go_on()
        await world.until(lambda: "verdict put off" in world.gateway.log())
        postgres.start()
        await world.until_sql(f"SELECT state = 'stored' FROM uploads WHERE id = '{upload_id(check.opened)}'")
    assert world.content(check.opened.dataset_version_id) == check.content


async def test_an_upload_given_up_while_it_is_checked_leaves_nothing(world: World) -> None:
    async with held_check(world, "given up") as check:
        opened = check.opened
        assert (await world.tus("DELETE", opened)).status_code == 204
        await world.until_no_object(f"datasets/{opened.dataset_version_id}/")
        version = opened.dataset_version_id
        await world.until_sql(f"SELECT state = 'uploading' FROM dataset_versions WHERE id = '{version}'")
        await world.until(lambda: not check.process.is_running())
    assert await told(world, opened) == 0


async def test_an_object_that_the_store_has_lost_ends_the_upload_with_the_reason(world: World) -> None:
    content = jsonl([{"text": "a"}, {"text": "b"}])
    opened = await world.open_upload(content)
    assert (await world.patch(opened, content[:-1], offset=0)).status_code == 204
    identifier = upload_id(opened)
    await world.sql(f"UPDATE uploads SET store_upload = 'nobody-knows-it' WHERE id = '{identifier}'")
    await world.sql(f"UPDATE uploads SET state = 'checking', offset_bytes = size_bytes WHERE id = '{identifier}'")
    verdict = await world.verdict(opened)
    assert (verdict["state"], verdict["problem"]["code"]) == ("failed", "bytes_lost")
    assert (await world.put(opened, content)).status_code == 201


class BrokenChecker(Checker):
    """A check that ends as no file should end it."""

    async def check(self, file: StoredFile, *, progress: Callable[[int], None] | None = None) -> CheckResult:
        """Break."""
        raise RuntimeError("broken by the test")


async def test_a_check_that_breaks_twice_rejects_the_file_with_the_reason(world: World) -> None:
    content = jsonl([{"text": "a"}, {"text": "b"}])
    opened = await world.open_upload(content)
    assert (await world.patch(opened, content[:-1], offset=0)).status_code == 204
    world.gateway.stop()
    identifier = upload_id(opened)
    await world.sql(f"UPDATE uploads SET state = 'checking', store_upload = NULL WHERE id = '{identifier}'")
    url = SecretStr(world.servers.database.url("dataset_gateway"))
    address = StoreAddress(
        endpoint=world.servers.bucket.endpoint,
        access_key=SecretStr(world.servers.bucket.access_key),
        secret_key=SecretStr(world.servers.bucket.secret_key),
        bucket=world.servers.bucket.bucket,
        region="us-east-1",
        is_secure=False,
    )
    clock, database, store = SystemClock(), Database(url), ObjectStore(address)
    remains = Remains(ObjectWriter(database, store, clock=clock, lease=timedelta(seconds=3)))
    verdicts = Verdicts(database, remains, clock=clock, wake_relay=lambda: None, news=News())
    rules = CheckRules(address=address, lease=timedelta(seconds=3))
    checks = CheckRunner(database, store, BrokenChecker(limits=CheckLimits()), verdicts, clock=clock, rules=rules)
    running = asyncio.create_task(checks.run())
    await world.until_sql(f"SELECT state <> 'checking' FROM uploads WHERE id = '{identifier}'")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await database.close()
    world.gateway.start(**SETTINGS)
    verdict = await world.verdict(opened)
    assert (verdict["state"], verdict["facts"]["fault_counts"]) == ("rejected", {"check_failed": 1})
    await world.until_no_object(f"datasets/{opened.dataset_version_id}/")
