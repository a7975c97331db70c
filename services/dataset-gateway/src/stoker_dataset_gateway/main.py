"""Wiring of the dataset gateway."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from stoker_dataset_gateway.artifacts.endpoints import artifact_routes
from stoker_dataset_gateway.artifacts.service import ArtifactRules, ArtifactService
from stoker_dataset_gateway.artifacts.subscribers import answer_artifacts
from stoker_dataset_gateway.checking.checker import Checker
from stoker_dataset_gateway.datasets.service import DatasetService
from stoker_dataset_gateway.datasets.subscribers import answer_datasets
from stoker_dataset_gateway.downloads.endpoints import download_routes
from stoker_dataset_gateway.downloads.service import DownloadService
from stoker_dataset_gateway.lengths.service import LengthService
from stoker_dataset_gateway.objects.service import ObjectWriter
from stoker_dataset_gateway.settings import Settings
from stoker_dataset_gateway.storage import ObjectStore
from stoker_dataset_gateway.sweeping import Sweeper
from stoker_dataset_gateway.tokens.service import TokenService
from stoker_dataset_gateway.tokens.subscribers import answer_tokens
from stoker_dataset_gateway.uploads.checks import CheckRules, CheckRunner
from stoker_dataset_gateway.uploads.endpoints import upload_routes
from stoker_dataset_gateway.uploads.holding import Holding
from stoker_dataset_gateway.uploads.receiving import Receiver
from stoker_dataset_gateway.uploads.remains import Remains
from stoker_dataset_gateway.uploads.service import UploadDesk, UploadRules, UploadService
from stoker_dataset_gateway.uploads.subscribers import answer_uploads
from stoker_dataset_gateway.uploads.verdicts import News, Verdicts
from stoker_shared.bus import Bus, BusSettings
from stoker_shared.clock import Clock, SystemClock
from stoker_shared.database import Database, migrate_up
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
    writer: ObjectWriter
    news: News
    verdicts: Verdicts
    checks: CheckRunner
    sweeper: Sweeper
    checker: Checker


def run(settings: Settings) -> None:
    """Serve until told to end."""
    serve(build_application(settings), host=settings.host, port=settings.port)


def migrate(settings: Settings) -> None:
    """Bring the schema up to date."""
    migrate_up(MIGRATIONS, database_url=settings.database_url)


def build_application(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """The application with everything connected; it starts and stops with its lifespan."""
    clock = clock or SystemClock()
    parts = _parts(settings, clock)
    application = create_application(
        title="Stoker dataset gateway",
        description=_DESCRIPTION,
        lifespan=_lifespan(parts),
        checks={
            "postgres": parts.database.is_ready,
            "nats": parts.bus.is_ready,
            "object_store": parts.store.is_ready,
        },
    )
    _connect(application, parts, clock=clock, settings=settings)
    return application


def _parts(settings: Settings, clock: Clock) -> Parts:
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    store = ObjectStore(settings.store_address)
    bus = Bus(BusSettings(url=settings.nats_url, service=SERVICE, seed_file=settings.nats_seed_file))
    relay = Relay(database, bus.publisher, clock=clock)
    writer = ObjectWriter(database, store, clock=clock, lease=settings.write_lease)
    news = News()
    verdicts = Verdicts(database, Remains(writer), clock=clock, wake_relay=relay.wake, news=news)
    # One more than checks: a plan that asks for token counts must not wait for a file of hours.
    checker = Checker(limits=settings.check_limits, processes=settings.checks_at_once + 1)
    check_rules = CheckRules(
        address=settings.store_address, lease=settings.upload_lease, at_once=settings.checks_at_once
    )
    checks = CheckRunner(database, store, checker, verdicts, clock=clock, rules=check_rules)
    sweeper = Sweeper(
        database, writer, verdicts, clock=clock, every=settings.sweep_every, keep_expired=settings.keep_expired
    )
    return Parts(database, store, bus, relay, writer, news, verdicts, checks, sweeper, checker)


def _uploads(parts: Parts, *, clock: Clock, settings: Settings, public_url: str) -> UploadService:
    lifetime = settings.upload_lifetime
    desk = UploadDesk(
        holding=Holding(parts.database, clock=clock, lease=settings.upload_lease),
        receiver=Receiver(parts.database, parts.store, parts.writer, clock=clock, lifetime=lifetime),
        verdicts=parts.verdicts,
        news=parts.news,
        wake_checks=parts.checks.wake,
    )
    rules = UploadRules(public_url=public_url, max_upload_bytes=settings.max_upload_bytes, lifetime=lifetime)
    return UploadService(parts.database, desk, clock=clock, rules=rules)


def _connect(application: FastAPI, parts: Parts, *, clock: Clock, settings: Settings) -> None:
    public_url = settings.public_url.rstrip("/")
    database, bus, wake_relay = parts.database, parts.bus, parts.relay.wake
    uploads = _uploads(parts, clock=clock, settings=settings, public_url=public_url)
    tokens = TokenService(database, clock=clock, public_url=public_url, longest_download=settings.download_lifetime)
    artifact_rules = ArtifactRules(public_url=public_url, download_lifetime=settings.download_lifetime)
    artifacts = ArtifactService(
        database, parts.writer, tokens, clock=clock, rules=artifact_rules, wake_relay=wake_relay
    )
    answer_uploads(bus, uploads)
    lengths = LengthService(database, parts.checker, address=settings.store_address, rules=settings.counting_rules)
    answer_datasets(bus, DatasetService(database), lengths)
    answer_tokens(bus, tokens)
    answer_artifacts(bus, artifacts)
    idle_timeout = settings.idle_timeout
    application.include_router(
        upload_routes(uploads, max_upload_bytes=settings.max_upload_bytes, idle_timeout=idle_timeout)
    )
    application.include_router(download_routes(DownloadService(database, parts.store, clock=clock)))
    application.include_router(
        artifact_routes(artifacts, max_artifact_bytes=settings.max_artifact_bytes, idle_timeout=idle_timeout)
    )


def _lifespan(parts: Parts) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        await parts.store.ensure_bucket()
        await parts.bus.start()
        parts.bus.on_reconnect(parts.relay.broker_returned)
        running = [asyncio.create_task(work) for work in (parts.relay.run(), parts.sweeper.run(), parts.checks.run())]
        for task in running:
            task.add_done_callback(_end_process_if_it_failed)
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await parts.bus.stop()
            await parts.checker.close()
            await parts.database.close()

    return lifespan


def _end_process_if_it_failed(task: "asyncio.Task[None]") -> None:
    if task.cancelled() or task.exception() is None:
        return
    logger.critical("background work failed; ending so that the supervisor starts anew", exc_info=task.exception())
    os.kill(os.getpid(), signal.SIGTERM)
