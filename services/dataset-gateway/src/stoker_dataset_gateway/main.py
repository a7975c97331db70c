"""Wiring of the dataset gateway."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware import Middleware

from stoker_dataset_gateway.artifacts.endpoints import artifact_routes
from stoker_dataset_gateway.artifacts.service import ArtifactRules, ArtifactService
from stoker_dataset_gateway.artifacts.subscribers import answer_artifacts
from stoker_dataset_gateway.datasets.service import DatasetService
from stoker_dataset_gateway.datasets.subscribers import answer_datasets
from stoker_dataset_gateway.downloads.endpoints import download_routes
from stoker_dataset_gateway.downloads.limits import TokenLimits
from stoker_dataset_gateway.downloads.service import DownloadRules, DownloadService
from stoker_dataset_gateway.objects.service import ObjectWriter
from stoker_dataset_gateway.settings import Settings
from stoker_dataset_gateway.storage import ObjectStore, PublicStore
from stoker_dataset_gateway.sweeping import Sweeper
from stoker_dataset_gateway.tokens.endpoints import token_routes
from stoker_dataset_gateway.tokens.failed_tries import FailedTries
from stoker_dataset_gateway.tokens.guard import TokenGuard
from stoker_dataset_gateway.tokens.service import TokenService
from stoker_dataset_gateway.tokens.subscribers import answer_tokens
from stoker_dataset_gateway.tokens.usage import UsageLedger
from stoker_dataset_gateway.uploads.endpoints import upload_routes
from stoker_dataset_gateway.uploads.service import UploadRules, UploadService
from stoker_dataset_gateway.uploads.subscribers import answer_uploads
from stoker_shared.bus import Bus, BusSettings
from stoker_shared.clock import Clock, SystemClock
from stoker_shared.database import Database, Statements, migrate_up
from stoker_shared.logging import get_logger
from stoker_shared.outbox import Relay
from stoker_shared.web import create_application, serve

logger = get_logger(__name__)

SERVICE = "dataset_gateway"
MIGRATIONS = Path(__file__).parent / "migrations"
_DESCRIPTION = "Datasets come in and are checked, pods fetch them, artifacts come back."


@dataclass(frozen=True, slots=True)
class Parts:
    """What lives as long as the process."""

    database: Database
    store: ObjectStore
    bus: Bus
    relay: Relay
    sweeper: Sweeper
    usage: UsageLedger
    statements: Statements


def run(settings: Settings) -> None:
    """Serve until told to end."""
    serve(
        build_application(settings),
        host=settings.host,
        port=settings.port,
        trusted_proxies=settings.trusted_proxies,
    )


def migrate(settings: Settings) -> None:
    """Bring the schema up to date."""
    migrate_up(MIGRATIONS, database_url=settings.database_url)


def build_application(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """The application with everything connected; it starts and stops with its lifespan."""
    clock = clock or SystemClock()
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    store = ObjectStore(settings.store_address)
    bus = Bus(BusSettings(url=settings.nats_url, service=SERVICE, seed_file=settings.nats_seed_file))
    relay = Relay(database, bus.publisher, clock=clock)
    writer = ObjectWriter(database, store, clock=clock, lease=settings.write_lease)
    sweeper = Sweeper(database, writer, clock=clock, every=settings.sweep_every, keep_expired=settings.keep_expired)
    statements = Statements(settings.database_url)
    usage = UsageLedger(statements, clock=clock, every=settings.write_use_every)
    parts = Parts(database, store, bus, relay, sweeper, usage, statements)
    application = create_application(
        title="Stoker dataset gateway",
        description=_DESCRIPTION,
        lifespan=_lifespan(parts),
        checks={"postgres": database.is_ready, "nats": bus.is_ready, "object_store": store.is_ready},
    )
    _connect(application, parts, writer, clock=clock, settings=settings)
    # Appended: inside the middleware that gives each answer its trace id.
    application.user_middleware.append(Middleware(TokenGuard, tries=FailedTries(settings.try_rules, clock=clock)))
    return application


def _connect(application: FastAPI, parts: Parts, writer: ObjectWriter, *, clock: Clock, settings: Settings) -> None:
    public_url = settings.public_url.rstrip("/")
    database, bus, wake_relay = parts.database, parts.bus, parts.relay.wake
    upload_rules = UploadRules(
        public_url=public_url,
        max_upload_bytes=settings.max_upload_bytes,
        lifetime=settings.upload_lifetime,
        check=settings.check_limits,
    )
    uploads = UploadService(database, writer, clock=clock, rules=upload_rules, wake_relay=wake_relay)
    lifetime = settings.download_lifetime
    tokens = TokenService(database, parts.statements, clock=clock, public_url=public_url, longest_download=lifetime)
    artifact_rules = ArtifactRules(public_url=public_url, download_lifetime=lifetime)
    artifacts = ArtifactService(database, writer, tokens, clock=clock, rules=artifact_rules, wake_relay=wake_relay)
    answer_uploads(bus, uploads)
    answer_datasets(bus, DatasetService(database))
    answer_tokens(bus, tokens)
    answer_artifacts(bus, artifacts)
    idle_timeout = settings.idle_timeout
    application.include_router(
        upload_routes(uploads, max_upload_bytes=settings.max_upload_bytes, idle_timeout=idle_timeout)
    )
    application.include_router(download_routes(_downloads(parts, clock=clock, settings=settings)))
    application.include_router(token_routes(tokens))
    application.include_router(
        artifact_routes(artifacts, max_artifact_bytes=settings.max_artifact_bytes, idle_timeout=idle_timeout)
    )


def _downloads(parts: Parts, *, clock: Clock, settings: Settings) -> DownloadService:
    public_store = settings.public_store_address
    return DownloadService(
        parts.statements,
        parts.store,
        clock=clock,
        limits=TokenLimits(settings.token_allowance, clock=clock),
        usage=parts.usage,
        rules=DownloadRules(
            idle_timeout=settings.idle_timeout,
            redirect_lifetime=settings.redirect_lifetime,
            public_store=PublicStore(public_store) if public_store else None,
        ),
    )


def _lifespan(parts: Parts) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        await parts.store.ensure_bucket()
        await parts.bus.start()
        parts.bus.on_reconnect(parts.relay.broker_returned)
        works = (parts.relay.run(), parts.sweeper.run(), parts.usage.run())
        running = [asyncio.create_task(work) for work in works]
        for task in running:
            task.add_done_callback(_end_process_if_it_failed)
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await parts.usage.write()
            await parts.bus.stop()
            await parts.statements.close()
            await parts.database.close()

    return lifespan


def _end_process_if_it_failed(task: "asyncio.Task[None]") -> None:
    if task.cancelled() or task.exception() is None:
        return
    logger.critical("background work failed; ending so that the supervisor starts anew", exc_info=task.exception())
    os.kill(os.getpid(), signal.SIGTERM)
