"""Wiring of the metrics service."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from stoker_metrics.alerts import subscribers as alert_subscribers
from stoker_metrics.alerts.service import AlertReader
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
from stoker_metrics.lines.pages import LinePages
from stoker_metrics.lines.service import LineReader
from stoker_metrics.notifications.reaching import Resolver, system_resolver
from stoker_metrics.notifications.service import Notifications
from stoker_metrics.object_store import ObjectStore
from stoker_metrics.packing.service import Packer
from stoker_metrics.points import subscribers as point_subscribers
from stoker_metrics.points.service import PointReader
from stoker_metrics.reports.endpoints import router
from stoker_metrics.reports.service import Intake, IntakeLimits
from stoker_metrics.reports.shortcut import ReportShortcut
from stoker_metrics.retention.service import Retention
from stoker_metrics.settings import MetricsSettings
from stoker_metrics.storing.backlog import BacklogWatch
from stoker_metrics.storing.service import Store
from stoker_metrics.storing.subscribers import Storing
from stoker_metrics.sweeping import Sweeper
from stoker_shared.bus import Bus, BusSettings
from stoker_shared.clock import Clock, SystemClock
from stoker_shared.database import Database
from stoker_shared.outbox import Relay
from stoker_shared.tasks import begin_tasks, end_tasks
from stoker_shared.web import create_application


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all parts of the service stand on."""

    settings: MetricsSettings
    clock: Clock
    database: Database
    bus: Bus
    relay: Relay
    hearing: Hearing
    standings: Standings
    attempts: Attempts
    objects: ObjectStore


def build(settings: MetricsSettings, *, clock: Clock | None = None, resolver: Resolver = system_resolver) -> FastAPI:
    """The application; it connects when it starts."""
    ground = _ground(settings, clock or SystemClock())
    _answer(ground)
    if settings.stores_reports:
        _store(ground)
    _diagnose(ground)
    notifications = Notifications(ground.database, settings, clock=ground.clock, resolver=resolver)
    notifications.register(ground.bus)
    works = {
        "outbox relay": ground.relay.run,
        "standings": ground.standings.keep,
        "backlog": BacklogWatch(ground.bus.publisher, hearing=ground.hearing, every=settings.silent_after / 3).run,
        "sweeper": _sweeper(ground).run,
        "notifications": notifications.run,
    }
    reports = router(_intake(ground))
    application = create_application(
        title="Stoker metrics",
        description="Takes what pods report. 202 means that it is on the broker's disk.",
        lifespan=_lifespan(ground, works=works),
        checks={"postgres": ground.database.is_ready, "nats": ground.bus.is_ready},
        prometheus_token=settings.prometheus_token,
        begins_traces=False,
    )
    application.include_router(reports)
    application.middleware_stack = ReportShortcut(application.build_middleware_stack(), routes=reports.routes)
    return application


def _ground(settings: MetricsSettings, clock: Clock) -> _Ground:
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    bus = Bus(BusSettings(url=settings.nats_url, service="metrics", seed_file=settings.nats_seed_file))
    relay = Relay(database, bus.publisher, clock=clock)
    bus.on_reconnect(relay.broker_returned)
    hearing = Hearing(clock=clock, silent_after=settings.silent_after, grace=settings.silence_grace)
    memory = StandingSettings(list_every=settings.token_list_every, kept_for=settings.token_kept_for)
    standings = Standings(database, bus.publisher, clock=clock, settings=memory)
    standings.register(bus)
    attempts = Attempts(database, standings=standings, hearing=hearing, clock=clock)
    objects = ObjectStore(settings.store_address)
    return _Ground(settings, clock, database, bus, relay, hearing, standings, attempts, objects)


def _answer(ground: _Ground) -> None:
    bus, database, attempts = ground.bus, ground.database, ground.attempts
    attempt_subscribers.register(bus, attempts)
    point_subscribers.register(bus, PointReader(database, attempts=attempts))
    chart_subscribers.register(bus, ChartReader(database, attempts=attempts))
    alerts = AlertReader(database, attempts=attempts, most=ground.settings.max_alerts_per_job)
    alert_subscribers.register(bus, alerts)
    line_subscribers.register(bus, LineReader(database, ground.objects, attempts=attempts))


def _store(ground: _Ground) -> None:
    settings = ground.settings
    store = Store(ground.database, clock=ground.clock, rules=settings.loss_rules(), caps=settings.caps())
    Storing(
        store,
        hearing=ground.hearing,
        wake=ground.relay.wake,
        batch=settings.storing_batch,
        patience=settings.storing_patience,
    ).register(ground.bus)


def _diagnose(ground: _Ground) -> None:
    pages = LinePages(ground.database, ground.objects)
    diagnoser = Diagnoser(ground.database, pages=pages, attempts=ground.attempts, clock=ground.clock)
    Ends(ground.bus, diagnoser, wake=ground.relay.wake, patience=ground.settings.evidence_patience).register()


def _sweeper(ground: _Ground) -> Sweeper:
    settings, database, clock = ground.settings, ground.database, ground.clock
    return Sweeper(
        Packer(database, ground.objects, clock=clock, pack_after=settings.pack_after),
        Retention(database, clock=clock, rules=settings.retention_rules()),
        every=settings.sweep_every,
    )


def _intake(ground: _Ground) -> Intake:
    settings, clock = ground.settings, ground.clock
    limits = IntakeLimits(
        settings.max_body_bytes,
        settings.max_items_per_batch,
        settings.max_reports_in_flight,
        settings.broker_slow_after,
    )
    tokens = JobTokens(ground.standings, clock=clock)
    return Intake(ground.bus.grouping_publisher, tokens=tokens, hearing=ground.hearing, clock=clock, limits=limits)


def _lifespan(
    ground: _Ground, *, works: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        await ground.bus.start()
        running = begin_tasks(works)
        try:
            yield
        finally:
            await ground.bus.stop()
            await end_tasks(running)
            await ground.database.close()

    return lifespan
