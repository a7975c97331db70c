"""Wiring of the dataset gateway."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from starlette.middleware import Middleware

from stoker_dataset_gateway.artifact_uploads.endpoints import artifact_upload_routes
from stoker_dataset_gateway.artifacts.endpoints import artifact_routes
from stoker_dataset_gateway.artifacts.subscribers import answer_artifacts
from stoker_dataset_gateway.checkpoints.endpoints import checkpoint_routes
from stoker_dataset_gateway.datasets.service import DatasetService
from stoker_dataset_gateway.datasets.subscribers import answer_datasets
from stoker_dataset_gateway.downloads.endpoints import download_routes
from stoker_dataset_gateway.parts import Parts, make_parts
from stoker_dataset_gateway.settings import Settings
from stoker_dataset_gateway.tokens.endpoints import token_routes
from stoker_dataset_gateway.tokens.failed_tries import FailedTries
from stoker_dataset_gateway.tokens.guard import TokenGuard
from stoker_dataset_gateway.tokens.subscribers import answer_tokens
from stoker_dataset_gateway.trainer_bundles.endpoints import trainer_bundle_routes
from stoker_dataset_gateway.trainer_bundles.subscribers import answer_trainer_bundles
from stoker_dataset_gateway.uploads.endpoints import upload_routes
from stoker_dataset_gateway.uploads.subscribers import answer_uploads
from stoker_shared.clock import Clock, SystemClock
from stoker_shared.logging import get_logger
from stoker_shared.starting import with_patience
from stoker_shared.tasks import begin_tasks, end_tasks
from stoker_shared.web import create_application

logger = get_logger(__name__)

_DESCRIPTION = "Datasets come in and are checked, pods fetch them, artifacts come back."


def build_application(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """The application with everything connected; it starts and stops with its lifespan."""
    clock = clock or SystemClock()
    parts = make_parts(settings, clock=clock)
    ground = parts.ground
    application = create_application(
        title="Stoker dataset gateway",
        description=_DESCRIPTION,
        lifespan=_lifespan(parts, start_patience=settings.start_patience),
        checks={
            "postgres": ground.database.is_ready,
            "nats": parts.bus.is_ready,
            "object_store": ground.store.is_ready,
        },
        prometheus_token=settings.prometheus_token,
    )
    _answer(parts)
    _route(application, parts, settings)
    # Appended: inside the middleware that gives each answer its trace id.
    application.user_middleware.append(Middleware(TokenGuard, tries=FailedTries(settings.try_rules, clock=clock)))
    return application


def _answer(parts: Parts) -> None:
    bus = parts.bus
    answer_uploads(bus, parts.datasets.uploads)
    answer_datasets(bus, DatasetService(parts.ground.database), parts.datasets.lengths)
    answer_tokens(bus, parts.ground.tokens)
    answer_artifacts(bus, parts.artifacts.whole)
    answer_trainer_bundles(bus, parts.artifacts.bundles)


def _route(application: FastAPI, parts: Parts, settings: Settings) -> None:
    idle_timeout, max_artifact_bytes = settings.idle_timeout, settings.max_artifact_bytes
    artifacts = parts.artifacts
    for router in (
        upload_routes(parts.datasets.uploads, max_upload_bytes=settings.max_upload_bytes, idle_timeout=idle_timeout),
        download_routes(parts.downloads),
        token_routes(parts.ground.tokens),
        # Before the routes that take any name below a job's artifacts.
        artifact_upload_routes(
            artifacts.by_parts,
            artifacts.completer,
            max_artifact_bytes=max_artifact_bytes,
            idle_timeout=idle_timeout,
        ),
        artifact_routes(artifacts.whole, max_artifact_bytes=max_artifact_bytes, idle_timeout=idle_timeout),
        checkpoint_routes(artifacts.checkpoints, parts.downloads),
        trainer_bundle_routes(artifacts.bundles),
    ):
        application.include_router(router)


def _lifespan(parts: Parts, *, start_patience: timedelta) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        await with_patience(parts.ground.store.ensure_bucket, patience=start_patience)
        await with_patience(parts.artifacts.bundles.publish, patience=start_patience)
        await parts.bus.start()
        parts.bus.on_reconnect(parts.relay.broker_returned)
        running = begin_tasks(
            {
                "outbox relay": parts.relay.run,
                "sweeper": parts.sweeper.run,
                "checks of datasets": parts.datasets.checks.run,
                "use of tokens": parts.usage.run,
            }
        )
        try:
            yield
        finally:
            await end_tasks(running)
            await _close(parts)

    return lifespan


async def _close(parts: Parts) -> None:
    await parts.artifacts.completer.close()
    await parts.bus.stop()
    await parts.checker.close()
    parts.artifacts.bundles.close()
    await parts.statements.close()
    await parts.ground.database.close()
