"""Bare statements and counts outlive the database; bytes also get through where the kernel cannot carry them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from stoker.stack.standalone import RunningPostgres
from stoker_dataset_gateway import MIGRATIONS
from stoker_dataset_gateway.downloads.conditions import Validators
from stoker_dataset_gateway.downloads.headers import partial, whole
from stoker_dataset_gateway.downloads.limits import TokenAllowance, TokenLimits
from stoker_dataset_gateway.downloads.ranges import ByteRange
from stoker_dataset_gateway.downloads.response import FileStream, GzipStream
from stoker_dataset_gateway.downloads.service import DownloadRules, DownloadService, ServedFile
from stoker_dataset_gateway.errors import ObjectMissing
from stoker_dataset_gateway.tokens.usage import UsageLedger
from stoker_shared.clock import ManualClock
from stoker_shared.database import Statements, migrate_up
from stoker_shared.errors import ServiceUnavailable
from tests.integration.dataset_gateway.test_store_answers import blocks, real
from tests.support.servers import TestBucket, TestDatabase

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TOKEN_HASH = "a" * 64
_ADD = """
    INSERT INTO download_tokens (token_hash, kind, object_key, filename, sha256, size_bytes, created_at, expires_at,
        use_count, bytes_served) VALUES ($1, 'dataset', 'k', 'f', $1, 1, $2, $2, 0, 0)
"""


async def test_statements_and_counts_survive_a_database_that_was_killed(
    database: TestDatabase, postgres: RunningPostgres
) -> None:
    url = SecretStr(database.url("dataset_gateway"))
    await asyncio.to_thread(migrate_up, MIGRATIONS, database_url=url)
    statements = Statements(url)
    usage = UsageLedger(statements, clock=ManualClock(NOW), every=timedelta(seconds=1))
    await statements.fetch_row(_ADD, TOKEN_HASH, NOW)
    usage.count_use(TOKEN_HASH)
    usage.count_bytes(TOKEN_HASH, 3_000_000_000)
    postgres.kill()
    with pytest.raises(ServiceUnavailable):
        await statements.fetch_row("SELECT 1")
    await usage.write()
    usage.count_bytes(TOKEN_HASH, 7)
    postgres.start()
    await usage.write()
    row = await statements.fetch_row("SELECT use_count, bytes_served, used_at FROM download_tokens")
    assert row is not None
    assert tuple(row) == (1, 3_000_000_007, NOW)
    await statements.close()


def served(bucket: TestBucket, key: str, size: int) -> tuple[DownloadService, ServedFile]:
    """A file behind a service whose database is never asked."""
    statements, clock = Statements(SecretStr("postgresql+asyncpg://u:p@127.0.0.1:1/d")), ManualClock(NOW)
    service = DownloadService(
        statements,
        real(bucket),
        clock=clock,
        limits=TokenLimits(TokenAllowance(60, 60, 2), clock=clock),
        usage=UsageLedger(statements, clock=clock, every=timedelta(seconds=1)),
        rules=DownloadRules(idle_timeout=timedelta(seconds=10), redirect_lifetime=timedelta(minutes=1)),
    )
    return service, ServedFile(TOKEN_HASH, key, "f.jsonl", size, NOW, Validators("b" * 64, NOW))


async def sent_by(response: FileStream) -> list[dict[str, Any]]:
    """The messages of a response to a server that cannot lend its sockets, and whose client stays."""
    messages: list[dict[str, Any]] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        messages.append(dict(message))

    await response({"type": "http"}, receive, send)
    return messages


async def test_blocks_carry_the_same_bytes_as_the_kernel_does(object_store: TestBucket) -> None:
    content = bytes(range(256)) * 20_000
    await real(object_store).put("k", blocks(content), size_hint=len(content))
    service, file = served(object_store, "k", len(content))
    headers, segments = whole(file)
    messages = await sent_by(FileStream(service, file, status_code=200, headers=headers, segments=segments))
    assert messages[0]["status"] == 200
    assert b"".join(message["body"] for message in messages[1:]) == content
    headers, segments = partial(file, [ByteRange(5, 3), ByteRange(2_000_000, 4)])
    messages = await sent_by(FileStream(service, file, status_code=206, headers=headers, segments=segments))
    body = b"".join(message["body"] for message in messages[1:])
    assert len(body) == int(headers["Content-Length"])
    assert content[5:8] in body
    assert content[2_000_000:2_000_004] in body
    assert service.limits.under_way == 0


async def test_a_missing_object_is_told_before_anything_is_sent(object_store: TestBucket) -> None:
    service, file = served(object_store, "nothing", 10)
    headers, segments = whole(file)
    for response in (
        FileStream(service, file, status_code=200, headers=headers, segments=segments),
        GzipStream(service, file, status_code=200, headers=headers, segments=()),
    ):
        with pytest.raises(ObjectMissing):
            await sent_by(response)
    assert service.limits.under_way == 0
