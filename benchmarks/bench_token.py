"""Minting and validating download tokens, against one bare PostgreSQL insert and one bare indexed select.

The rival is the least that any design with a database could need: asyncpg, a prepared statement, no pool, no check.
Both are measured in turn, in blocks, on the same server in the same run.

    python -m benchmarks.bench_token [TOKENS]
"""

import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
from pydantic import SecretStr

from benchmarks.gateway_stack import running_servers
from stoker_dataset_gateway.downloads.limits import TokenAllowance, TokenLimits
from stoker_dataset_gateway.downloads.service import DownloadRules, DownloadService
from stoker_dataset_gateway.storage import ObjectStore
from stoker_dataset_gateway.tokens.service import TokenService
from stoker_dataset_gateway.tokens.usage import UsageLedger
from stoker_shared.clock import SystemClock
from stoker_shared.database import Database, Statements
from stoker_shared.identifiers import new_identifier
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.rpc.dataset_gateway import MintDownload
from stoker_shared.tokens import token_hash

TOKENS = 3000
BLOCK = 100
VERSION = "dsv-00000000000000aa"
OWNER = "user-00000000000000aa"
_RIVAL_TABLE = "CREATE TABLE bench_tokens (LIKE download_tokens INCLUDING ALL)"
_RIVAL_INSERT = """
    INSERT INTO bench_tokens (token_hash, kind, object_key, filename, sha256, size_bytes, created_at, expires_at,
        use_count, bytes_served)
    VALUES ($1, 'dataset', 'k', 'data.jsonl', $2, 1, $3, $4, 0, 0)
"""
_RIVAL_SELECT = "SELECT object_key, filename, sha256, size_bytes, expires_at FROM bench_tokens WHERE token_hash = $1"
_VERSION = """
    INSERT INTO dataset_versions (id, owner, name, filename, state, sha256, size_bytes, created_at, object_key, report,
        event_sequence)
    VALUES ($1, $2, 'n', 'data.jsonl', 'stored', $3, 1, now(), 'k', '{"data_format": "messages"}', 1)
"""

Step = Callable[[], Awaitable[Any]]
WithTokens = Callable[[list[str]], Awaitable[Any]]


def main() -> None:
    """Measure and print; the last line is a mint and a look-up against an insert and a select."""
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else TOKENS
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder, running_servers(Path(folder)) as servers:
        times = asyncio.run(measure(servers.database_url(), servers.database_url("postgresql"), tokens))
    ours = report("mint", times["mint"], "insert", times["insert"])
    theirs = report("validate", times["validate"], "select", times["select"])
    us, rival = ours[0] + theirs[0], ours[1] + theirs[1]
    print(f"bench-token ratio={rival / us:.2f} (us {1 / us:.0f}/s / rival {1 / rival:.0f}/s)")


async def measure(url: str, bare_url: str, tokens: int) -> dict[str, list[float]]:
    """Seconds per operation of each block."""
    database, statements, connection = (
        Database(SecretStr(url)),
        Statements(SecretStr(url)),
        await asyncpg.connect(bare_url),
    )
    await connection.execute(_RIVAL_TABLE)
    await connection.execute(_VERSION, VERSION, OWNER, "0" * 64)
    minted: list[str] = []
    inserted: list[str] = []
    mint, validate = services(database, statements)
    steps: dict[str, Step] = {
        "mint": lambda: mint(minted),
        "insert": lambda: insert(connection, inserted),
        "validate": lambda: validate(minted),
        "select": lambda: connection.fetchrow(_RIVAL_SELECT, secrets.choice(inserted)),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for block in range(tokens // BLOCK + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(BLOCK):
                await step()
            if block:  # the first one fills caches and connects
                times[name].append((time.perf_counter() - started) / BLOCK)
    await connection.close()
    await statements.close()
    await database.close()
    return times


def services(
    database: Database, statements: Statements
) -> tuple[Callable[[list[str]], Awaitable[None]], Callable[[list[str]], Awaitable[Any]]]:
    """Ours, as the bus and the web call them."""
    clock = SystemClock()
    tokens = TokenService(
        database, statements, clock=clock, public_url="http://127.0.0.1", longest_download=timedelta(hours=2)
    )
    address = StoreAddress(
        endpoint="127.0.0.1:1",
        access_key=SecretStr("k"),
        secret_key=SecretStr("s"),
        bucket="bucket",
        region="us-east-1",
        is_secure=False,
    )
    downloads = DownloadService(
        statements,
        ObjectStore(address),
        clock=clock,
        limits=TokenLimits(TokenAllowance(60_000, 60_000, 16), clock=clock),
        usage=UsageLedger(statements, clock=clock, every=timedelta(seconds=1)),
        rules=DownloadRules(idle_timeout=timedelta(seconds=60), redirect_lifetime=timedelta(minutes=10)),
    )

    async def mint(minted: list[str]) -> None:
        request = MintDownload(
            job_id=new_identifier("job"),
            attempt=1,
            owner=OWNER,
            dataset_version_id=VERSION,
            job_token_sha256=token_hash(secrets.token_urlsafe(32)),
            job_token_expires_at=clock.now() + timedelta(hours=1),
        )
        answer = await tokens.mint(request)
        minted.append(parse_qs(urlsplit(answer.download_url).query)["token"][0])

    async def validate(minted: list[str]) -> Any:
        return await downloads.admit(secrets.choice(minted), kind="dataset")

    return mint, validate


async def insert(connection: Any, inserted: list[str]) -> None:
    """One bare insert, committed."""
    hashed, now = token_hash(secrets.token_urlsafe(32)), datetime.now(UTC)
    await connection.execute(_RIVAL_INSERT, hashed, "0" * 64, now, now + timedelta(hours=2))
    inserted.append(hashed)


def report(our_name: str, ours: list[float], rival_name: str, rival: list[float]) -> tuple[float, float]:
    """Print one comparison; returns both medians in seconds."""
    us, them = statistics.median(ours), statistics.median(rival)
    rates = f"(us {1 / us:.0f}/s / rival {1 / them:.0f}/s)"
    print(f"{our_name} against {rival_name} ratio={them / us:.2f} {rates}")
    return us, them


if __name__ == "__main__":
    main()
