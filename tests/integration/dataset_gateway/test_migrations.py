"""The schema comes, goes and comes again, and is what the tables say."""

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from stoker_dataset_gateway import MIGRATIONS
from stoker_dataset_gateway.artifact_uploads.tables import ArtifactPart, ArtifactUpload
from stoker_dataset_gateway.artifacts.tables import Artifact, ArtifactCounter
from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.objects.tables import ObjectWrite
from stoker_dataset_gateway.tables import Table
from stoker_dataset_gateway.tokens.tables import Attempt, DownloadToken, JobToken
from stoker_dataset_gateway.trainer_bundles.tables import TrainerBundle
from stoker_dataset_gateway.uploads.tables import Upload, UploadPart, UploadToken
from stoker_shared.database import migrate_down, migrate_up
from tests.support.servers import TestDatabase

TABLES = (
    Artifact,
    ArtifactCounter,
    ArtifactPart,
    ArtifactUpload,
    DatasetVersion,
    ObjectWrite,
    DownloadToken,
    JobToken,
    Attempt,
    TrainerBundle,
    Upload,
    UploadPart,
    UploadToken,
)
SHARED = {"outbox", "processed", "broker_watermark", "alembic_version"}


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": False})
    found = compare_metadata(context, Table.metadata)
    return [item for item in found if not _is_shared(item)]


def _is_shared(item: object) -> bool:
    return isinstance(item, tuple) and any(
        getattr(part, "name", None) in SHARED or getattr(getattr(part, "table", None), "name", None) in SHARED
        for part in item
    )


async def _look(url: str) -> tuple[set[str], list[object]]:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_tables), await connection.run_sync(_differences)
    finally:
        await engine.dispose()


def test_migrations_go_up_down_and_up(database: TestDatabase) -> None:
    url = database.url("dataset_gateway")
    wanted = {table.__tablename__ for table in TABLES} | SHARED
    migrate_up(MIGRATIONS, database_url=SecretStr(url))
    found, differences = asyncio.run(_look(url))
    assert found == wanted
    assert differences == []
    migrate_down(MIGRATIONS, database_url=SecretStr(url))
    assert asyncio.run(_look(url))[0] == {"alembic_version"}
    migrate_up(MIGRATIONS, database_url=SecretStr(url))
    assert asyncio.run(_look(url))[0] == wanted
