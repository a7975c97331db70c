"""Wiring of the metrics service."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from stoker_metrics.attempts import subscribers as attempt_subscribers
from stoker_metrics.attempts.service import Attempts
from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.attempts.tokens import JobTokens, TokenMemorySettings
from stoker_metrics.lines import subscribers as line_subscribers
from stoker_metrics.lines.service import LineReader
from stoker_metrics.notifications.reaching import Resolver, system_resolver
from stoker_metrics.notifications.service import Notifications
from stoker_metrics.points import subscribers as point_subscribers
from stoker_metrics.points.service import PointReader
from stoker_metrics.reports.endpoints import router
from stoker_metrics.reports.service import Intake, IntakeLimits
from stoker_metrics.settings import MetricsSettings
from stoker_metrics.storing.service import Store
from stoker_metrics.storing.subscribers import Storing
from stoker_shared.bus import Bus, BusSettings
from stoker_shared.clock import Clock, SystemClock
from stoker_shared.database import Database
from stoker_shared.outbox import Relay
from stoker_shared.tasks import end_tasks
from stoker_shared.web import create_application


def build(settings: MetricsSettings, *, clock: Clock | None = None, resolver: Resolver = system_resolver) -> FastAPI:
    """The application; it connects when it starts."""
    clock = clock or SystemClock()
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    bus = Bus(BusSettings(url=settings.nats_url, service="metrics", seed_file=settings.nats_seed_file))
    relay = Relay(database, bus.publisher, clock=clock)
    hearing = Hearing(clock=clock, silent_after=settings.silent_after, grace=settings.silence_grace)
    memory = TokenMemorySettings(fresh_for=settings.token_fresh_for, kept_for=settings.token_kept_for)
    tokens = JobTokens(database, clock=clock, settings=memory)
    attempts = Attempts(database, tokens=tokens, hearing=hearing, clock=clock)
    attempt_subscribers.register(bus, attempts)
    point_subscribers.register(bus, PointReader(database, attempts=attempts))
    line_subscribers.register(bus, LineReader(database, attempts=attempts))
    Storing(
        Store(database, clock=clock, rules=settings.loss_rules()),
        hearing=hearing,
        wake=relay.wake,
        workers=settings.storing_workers,
        patience=settings.storing_patience,
    ).register(bus)
    notifications = Notifications(database, settings, clock=clock, resolver=resolver)
    notifications.register(bus)
    bus.on_reconnect(relay.broker_returned)
    application = create_application(
        title="Stoker metrics",
        description="Takes what pods report. 202 means that it is on the broker's disk.",
        lifespan=_lifespan(bus, database, relay, notifications),
        checks={"postgres": database.is_ready, "nats": bus.is_ready},
    )
    limits = IntakeLimits(settings.max_body_bytes, settings.max_items_per_batch, settings.max_reports_in_flight)
    intake = Intake(bus.publisher, tokens=tokens, hearing=hearing, clock=clock, limits=limits)
    application.include_router(router(intake))
    return application


def _lifespan(
    bus: Bus, database: Database, relay: Relay, notifications: Notifications
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        await bus.start()
        relaying = asyncio.create_task(relay.run(), name="outbox relay")
        notifying = asyncio.create_task(notifications.run(), name="notifications")
        try:
            yield
        finally:
            await bus.stop()
            await end_tasks([relaying, notifying])
            await database.close()

    return lifespan
