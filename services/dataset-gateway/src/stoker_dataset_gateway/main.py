"""Wiring of the dataset gateway."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from stoker_dataset_gateway.artifact_uploads.completing import CompletingRules, UploadCompleter
from stoker_dataset_gateway.artifact_uploads.endpoints import artifact_upload_routes
from stoker_dataset_gateway.artifact_uploads.service import ArtifactUploadService, PartRules
from stoker_dataset_gateway.artifacts.endpoints import artifact_routes
from stoker_dataset_gateway.artifacts.recording import ArtifactRecorder
from stoker_dataset_gateway.artifacts.retention import Retention
from stoker_dataset_gateway.artifacts.service import ArtifactRules, ArtifactService
from stoker_dataset_gateway.artifacts.subscribers import answer_artifacts
from stoker_dataset_gateway.datasets.service import DatasetService
from stoker_dataset_gateway.datasets.subscribers import answer_datasets
from stoker_dataset_gateway.downloads.endpoints import download_routes
from stoker_dataset_gateway.downloads.service import DownloadService
from stoker_dataset_gateway.foundation import Foundation
from stoker_dataset_gateway.objects.service import ObjectWriter
from stoker_dataset_gateway.settings import Settings
from stoker_dataset_gateway.storage import ObjectStore
from stoker_dataset_gateway.sweeping import Sweeper
from stoker_dataset_gateway.tokens.service import TokenService
from stoker_dataset_gateway.tokens.subscribers import answer_tokens
from stoker_dataset_gateway.trainer_bundles.endpoints import trainer_bundle_routes
from stoker_dataset_gateway.trainer_bundles.service import TrainerBundleService, read_bundle
from stoker_dataset_gateway.trainer_bundles.subscribers import answer_trainer_bundles
from stoker_dataset_gateway.uploads.endpoints import upload_routes
from stoker_dataset_gateway.uploads.service import UploadRules, UploadService
from stoker_dataset_gateway.uploads.subscribers import answer_uploads
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
class ArtifactParts:
    """The ways in which results come in, and what is kept of them; and the trainer, which goes out."""

    whole: ArtifactService
    by_parts: ArtifactUploadService
    completer: UploadCompleter
    retention: Retention
    bundles: TrainerBundleService


@dataclass(frozen=True, slots=True)
class Parts:
    """What lives as long as the process."""

    database: Database
    store: ObjectStore
    bus: Bus
    relay: Relay
    sweeper: Sweeper
    tokens: TokenService
    artifacts: ArtifactParts


def run(settings: Settings) -> None:
    """Serve until told to end."""
    serve(build_application(settings), host=settings.host, port=settings.port)


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
    public_url = settings.public_url.rstrip("/")
    tokens = TokenService(database, clock=clock, public_url=public_url, longest_download=settings.download_lifetime)
    artifacts = _artifact_parts(Foundation(database, store, writer, tokens, clock), relay, settings)
    sweeper = Sweeper(
        database,
        writer,
        artifacts.retention,
        clock=clock,
        every=settings.sweep_every,
        keep_expired=settings.keep_expired,
    )
    parts = Parts(database, store, bus, relay, sweeper, tokens, artifacts)
    application = create_application(
        title="Stoker dataset gateway",
        description=_DESCRIPTION,
        lifespan=_lifespan(parts),
        checks={"postgres": database.is_ready, "nats": bus.is_ready, "object_store": store.is_ready},
    )
    _connect(application, parts, writer, clock=clock, settings=settings)
    return application


def _artifact_parts(ground: Foundation, relay: Relay, settings: Settings) -> ArtifactParts:
    recorder = ArtifactRecorder(ground, max_job_bytes=settings.max_job_bytes, wake_relay=relay.wake)
    public_url = settings.public_url.rstrip("/")
    artifact_rules = ArtifactRules(public_url, settings.download_lifetime, settings.max_artifact_bytes)
    whole = ArtifactService(ground, recorder, rules=artifact_rules)
    part_rules = PartRules(settings.max_artifact_bytes, settings.artifact_upload_lifetime)
    by_parts = ArtifactUploadService(ground, artifacts=whole, recorder=recorder, rules=part_rules)
    return ArtifactParts(
        whole=whole,
        by_parts=by_parts,
        completer=UploadCompleter(
            ground,
            uploads=by_parts,
            artifacts=whole,
            recorder=recorder,
            rules=CompletingRules(lease=settings.write_lease),
        ),
        retention=Retention(ground, recorder, rules=settings.retention_rules),
        bundles=TrainerBundleService(ground, public_url=public_url, file=read_bundle(settings.trainer_bundle)),
    )


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
    answer_uploads(bus, uploads)
    answer_datasets(bus, DatasetService(database))
    answer_tokens(bus, parts.tokens)
    answer_artifacts(bus, parts.artifacts.whole)
    answer_trainer_bundles(bus, parts.artifacts.bundles)
    idle_timeout = settings.idle_timeout
    application.include_router(
        upload_routes(uploads, max_upload_bytes=settings.max_upload_bytes, idle_timeout=idle_timeout)
    )
    application.include_router(download_routes(DownloadService(database, parts.store, clock=clock)))
    # Before the routes that take any name below a job's artifacts.
    application.include_router(
        artifact_upload_routes(
            parts.artifacts.by_parts,
            parts.artifacts.completer,
            max_artifact_bytes=settings.max_artifact_bytes,
            idle_timeout=idle_timeout,
        )
    )
    application.include_router(
        artifact_routes(
            parts.artifacts.whole, max_artifact_bytes=settings.max_artifact_bytes, idle_timeout=idle_timeout
        )
    )
    application.include_router(trainer_bundle_routes(parts.artifacts.bundles))


def _lifespan(parts: Parts) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        await parts.store.ensure_bucket()
        await parts.artifacts.bundles.publish()
        await parts.bus.start()
        parts.bus.on_reconnect(parts.relay.broker_returned)
        running = [asyncio.create_task(parts.relay.run()), asyncio.create_task(parts.sweeper.run())]
        for task in running:
            task.add_done_callback(_end_process_if_it_failed)
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await parts.artifacts.completer.close()
            await parts.bus.stop()
            parts.artifacts.bundles.close()
            await parts.database.close()

    return lifespan


def _end_process_if_it_failed(task: "asyncio.Task[None]") -> None:
    if task.cancelled() or task.exception() is None:
        return
    logger.critical("background work failed; ending so that the supervisor starts anew", exc_info=task.exception())
    os.kill(os.getpid(), signal.SIGTERM)
