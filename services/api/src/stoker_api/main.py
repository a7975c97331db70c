"""Wiring."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from pydantic import SecretStr

from stoker_api.accounts.service import AccountService
from stoker_api.application import build_application
from stoker_api.dependencies import Parts
from stoker_api.deploy.service import DeployService
from stoker_api.diagnosis.service import DiagnosisService
from stoker_api.following.hub import LiveHub
from stoker_api.following.looking import JobLooks
from stoker_api.following.notifications import JobNotifications
from stoker_api.following.stream import JobFollower
from stoker_api.following.telemetry import TelemetryListener
from stoker_api.jobs.launching import LaunchService
from stoker_api.jobs.service import JobService
from stoker_api.jobs.subscribers import JobReadModel
from stoker_api.plans.freshness import FreshnessCheck
from stoker_api.plans.gathering import FactGatherer
from stoker_api.plans.service import PlanPolicy, PlanService
from stoker_api.recipes.service import RecipeService
from stoker_api.settings import ApiSettings
from stoker_shared.bus import Bus, BusSettings, RpcClient
from stoker_shared.clock import Clock, SystemClock
from stoker_shared.database import Database
from stoker_shared.money import MicroUsd
from stoker_shared.outbox import Relay
from stoker_shared.starting import with_patience
from stoker_shared.tasks import begin_tasks, end_tasks


def create_api(settings: ApiSettings, *, clock: Clock | None = None) -> FastAPI:
    """The application with all its parts; connections open in its lifespan."""
    clock = clock or SystemClock()
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    bus = Bus(BusSettings(url=settings.nats_url, service="api", seed_file=settings.nats_seed_file))
    relay = Relay(database, bus.publisher, clock=clock)
    hub = LiveHub(queue_size=settings.event_queue_size, max_feeds=settings.max_event_streams)
    parts = _parts(settings, database=database, bus=bus, relay=relay, hub=hub, clock=clock)
    JobReadModel(database, clock=clock).register(bus)
    bus.on_reconnect(relay.broker_returned)

    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            if (key := settings.bootstrap_key_sha256) is not None:
                await with_patience(partial(parts.accounts.bootstrap, key), patience=settings.start_patience)
            stack.push_async_callback(bus.stop)
            await bus.start()
            await TelemetryListener(bus, hub).start()
            works = {"outbox relay": relay.run, "job notifications": JobNotifications(settings.database_url, hub).run}
            stack.push_async_callback(end_tasks, begin_tasks(works))
            yield

    checks = {"postgres": database.is_ready, "nats": bus.is_ready}
    application = build_application(lifespan, checks=checks, prometheus_token=settings.prometheus_token)
    application.state.parts = parts
    return application


def _parts(settings: ApiSettings, *, database: Database, bus: Bus, relay: Relay, hub: LiveHub, clock: Clock) -> Parts:
    rpc = RpcClient(bus)
    gatherer = FactGatherer(rpc, token_count_patience=settings.token_count_patience)
    recipes = RecipeService(database, clock=clock)
    plans = PlanService(database, gatherer=gatherer, recipes=recipes, clock=clock, policy=_policy(settings))
    jobs = JobService(database, relay=relay, rpc=rpc, clock=clock)
    launches = LaunchService(
        database,
        relay=relay,
        freshness=FreshnessCheck(gatherer),
        clock=clock,
        facts_lifetime=settings.facts_lifetime,
    )
    return Parts(
        accounts=AccountService(database, clock=clock),
        recipes=recipes,
        plans=plans,
        launches=launches,
        jobs=jobs,
        follower=JobFollower(
            JobLooks(database, hub=hub, clock=clock, gap_patience=settings.event_gap_patience),
            hub=hub,
            heartbeat=settings.event_heartbeat,
        ),
        deploys=DeployService(plans=plans, launches=launches, jobs=jobs),
        diagnosis=DiagnosisService(database, rpc=rpc, jobs=jobs, plans=plans, launches=launches),
        rpc=rpc,
    )


def _policy(settings: ApiSettings) -> PlanPolicy:
    return PlanPolicy(
        lifetime=settings.plan_lifetime,
        minimum_reservation=settings.minimum_reservation,
        default_budget_floor=MicroUsd(settings.default_budget_floor_micro_usd),
        default_max_attempts=settings.default_max_attempts,
        default_max_duration=settings.default_max_duration,
        public_urls={
            "STOKER_API_GATEWAY_PUBLIC_URL": settings.gateway_public_url or settings.public_url,
            "STOKER_API_METRICS_PUBLIC_URL": settings.metrics_public_url or settings.public_url,
        },
    )


async def add_user(settings: ApiSettings, name: str) -> tuple[str, SecretStr]:
    """A new user and the only copy of the first key."""
    database = Database(settings.database_url, pool_size=1)
    try:
        return await AccountService(database, clock=SystemClock()).create_user(name)
    finally:
        await database.close()
