"""Background work of the service that fails is seen: it tries again by itself, or the process ends."""

import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from stoker_metrics.packing.service import Packer
from stoker_metrics.retention.service import Retention, RetentionRules
from stoker_metrics.sweeping import Sweeper
from tests.support.metrics import MetricsProcess
from tests.support.ports import free_port
from tests.support.servers import TestBucket, TestDatabase
from tests.support.storing import line, store_of, storing_world
from tests.support.tables import Tables


async def test_a_step_of_the_sweep_that_fails_keeps_not_the_other(
    metrics_database: TestDatabase, object_store: TestBucket
) -> None:
    async with storing_world(metrics_database) as world:
        await world.admit()
        await world.keep_lines([line(1), line(2)])
        await world.execute("UPDATE attempt_reports SET revoked_at = now()")
        await world.execute("ALTER TABLE notification_deliveries RENAME TO elsewhere")  # retention looks there
        packer = Packer(world.database, store_of(object_store), clock=world.clock, pack_after=timedelta(minutes=15))
        retention = Retention(world.database, clock=world.clock, rules=RetentionRules())
        await Sweeper(packer, retention, every=timedelta(minutes=1)).sweep()
        assert await world.rows("SELECT * FROM log_lines") == []


@pytest.fixture
async def service(metrics_variables: dict[str, str], tmp_path: Path) -> AsyncIterator[MetricsProcess]:
    """A process that reads the job tokens anew ten times a second."""
    port = free_port()
    own = {"STOKER_METRICS_PORT": str(port), "STOKER_METRICS_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    often = {"STOKER_METRICS_TOKEN_LIST_EVERY": "PT0.1S"}
    process = MetricsProcess(metrics_variables | own | often, tmp_path / "metrics.log")
    await process.start()
    yield process
    process.kill()


async def test_a_service_that_can_no_longer_keep_its_tokens_ends_in_good_order(
    service: MetricsProcess, metrics_database: TestDatabase, tmp_path: Path
) -> None:
    tables = Tables(metrics_database.url("metrics", driver="postgresql"))
    await tables.execute("ALTER TABLE job_tokens RENAME TO elsewhere")
    assert await service.ended() == -signal.SIGTERM  # as after any orderly stop
    log = (tmp_path / "metrics.log").read_text()
    assert "background work failed" in log
    assert "standings" in log
    await tables.execute("ALTER TABLE elsewhere RENAME TO job_tokens")
    await service.start()
