"""Wiring of the metrics service."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from stoker_metrics.attempts import subscribers as attempt_subscribers
from stoker_metrics.attempts.service import Attempts
from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.attempts.standings import Standings, StandingSettings
from stoker_metrics.attempts.tokens import JobTokens
from stoker_metrics.charts import subscribers as chart_subscribers
from stoker_metrics.charts.service import ChartReader
from stoker_metrics.diagnosis.service import Diagnoser
from stoker_metrics.diagnosis.subscribers import Ends
from stoker_metrics.lines import subscribers as line_subscribers
from stoker_metrics.lines.service import LineReader
from stoker_metrics.notifications.reaching import Resolver, system_resolver
from stoker_metrics.notifications.service import Notifications
from stoker_metrics.object_store import ObjectStore
from stoker_metrics.packing.service import Packer
from stoker_metrics.points import subscribers as point_subscribers
from stoker_metrics.points.service import PointReader
from stoker_metrics.reports.endpoints import router
from stoker_metrics.reports.service import Intake, IntakeLimits
from stoker_metrics.retention.service import Retention
from stoker_metrics.settings import MetricsSettings
from stoker_metrics.storing.service import Store
from stoker_metrics.storing.subscribers import Storing
from stoker_metrics.sweeping import Sweeper
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
    memory = StandingSettings(list_every=settings.token_list_every, kept_for=settings.token_kept_for)
    standings = Standings(database, bus.publisher, clock=clock, settings=memory)
    standings.register(bus)
    tokens = JobTokens(standings, clock=clock)
    attempts = Attempts(database, standings=standings, hearing=hearing, clock=clock)
    objects = ObjectStore(settings.store_address)
    attempt_subscribers.register(bus, attempts)
    point_subscribers.register(bus, PointReader(database, attempts=attempts))
    chart_subscribers.register(bus, ChartReader(database, attempts=attempts))
    line_subscribers.register(bus, LineReader(database, objects, attempts=attempts))
    Storing(
        Store(database, clock=clock, rules=settings.loss_rules(), caps=settings.caps()),
        hearing=hearing,
        wake=relay.wake,
        workers=settings.storing_workers,
        patience=settings.storing_patience,
    ).register(bus)
    sweeper = Sweeper(
        Packer(database, objects, clock=clock, pack_after=settings.pack_after),
        Retention(database, clock=clock, rules=settings.retention_rules()),
        every=settings.sweep_every,
    )
    diagnoser = Diagnoser(database, attempts=attempts, clock=clock)
    Ends(bus, diagnoser, wake=relay.wake, patience=settings.evidence_patience).register()
    notifications = Notifications(database, settings, clock=clock, resolver=resolver)
    notifications.register(bus)
    bus.on_reconnect(relay.broker_returned)
    application = create_application(
        title="Stoker metrics",
        description="Takes what pods report. 202 means that it is on the broker's disk.",
        lifespan=_lifespan(
            bus,
            database,
            works={
                "outbox relay": relay.run,
                "standings": standings.keep,
                "sweeper": sweeper.run,
                "notifications": notifications.run,
            },
        ),
        checks={"postgres": database.is_ready, "nats": bus.is_ready},
        prometheus_token=settings.prometheus_token,
        begins_traces=False,
    )
    limits = IntakeLimits(
        settings.max_body_bytes,
        settings.max_items_per_batch,
        settings.max_reports_in_flight,
        settings.broker_slow_after,
    )
    intake = Intake(bus.grouping_publisher, tokens=tokens, hearing=hearing, clock=clock, limits=limits)
    application.include_router(router(intake))
    return application


def _lifespan(
    bus: Bus, database: Database, *, works: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        await bus.start()
        running = [asyncio.create_task(work(), name=name) for name, work in works.items()]
        try:
            yield
        finally:
            await bus.stop()
            await end_tasks(running)
            await database.close()

    return lifespan
