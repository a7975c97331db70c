"""Wiring of the deployer's process."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from stoker_deployer.answers import subscribers as answer_subscribers
from stoker_deployer.answers.service import Answers
from stoker_deployer.bills.settling import Settlement, SettlingPace
from stoker_deployer.jobs import subscribers as job_subscribers
from stoker_deployer.jobs.admitting import Admitter
from stoker_deployer.jobs.applying import Applier
from stoker_deployer.jobs.calm import Calm
from stoker_deployer.jobs.ending import Closer
from stoker_deployer.jobs.environment import PublicUrls
from stoker_deployer.jobs.intake import Intake
from stoker_deployer.jobs.launching import Launcher
from stoker_deployer.jobs.looking import Observer
from stoker_deployer.jobs.reconcile import Hands, Reconciler
from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.jobs.rounds import Rounds
from stoker_deployer.jobs.watching import Watcher
from stoker_deployer.ledger.budgets import Budgets
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.pipeline.repository import ClaimRepository
from stoker_deployer.pipeline.sweep import OrphanSweep
from stoker_deployer.pipeline.workers import Pace, Pipeline
from stoker_deployer.pods.commands import PodCommands
from stoker_deployer.providers.accounts import Accounts, ProviderFactory
from stoker_deployer.providers.configured import Providers, configured_providers
from stoker_deployer.providers.listings import Listings
from stoker_deployer.queue import subscribers as queue_subscribers
from stoker_deployer.queue.answers import QueueAnswers
from stoker_deployer.queue.slots import Slots
from stoker_deployer.settings import DeployerSettings
from stoker_deployer.vault import subscribers as vault_subscribers
from stoker_deployer.vault.checking import checks
from stoker_deployer.vault.keyring import vault_keys
from stoker_deployer.vault.service import Vault
from stoker_shared.bus import Bus, BusSettings, RpcClient
from stoker_shared.clock import Clock, SystemClock
from stoker_shared.database import Database
from stoker_shared.logging import get_logger
from stoker_shared.outbox import Relay
from stoker_shared.tasks import begin_tasks, end_tasks
from stoker_shared.web import create_application

logger = get_logger(__name__)


class Deployer:
    """One replica: everything wired, `start` and `stop`."""

    def __init__(
        self,
        settings: DeployerSettings,
        *,
        clock: Clock | None = None,
        providers: Providers | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.settings = settings
        self.database = Database(settings.database_url, pool_size=settings.database_pool_size)
        self.bus = Bus(BusSettings(url=settings.nats_url, service="deployer", seed_file=settings.nats_seed_file))
        self.relay = Relay(self.database, self.bus.publisher, clock=clock)
        self.providers = providers or configured_providers(settings, clock=clock)
        operators, factories = self.providers.operators, self.providers.factories
        self.vault = self._vault(factories, clock=clock)
        self.accounts = Accounts(operators, factories=factories, keys=self.vault, clock=clock)
        rpc, ledger = RpcClient(self.bus), LedgerRepository()
        jobs = JobRepository(ledger)
        claims = ClaimRepository(owner=f"{socket.gethostname()}:{os.getpid()}", lease=settings.lease)
        applier = Applier(jobs, ledger, slots := Slots(settings.limits()))
        admitter = self._admitter(rpc, clock=clock)
        calm = Calm(settings.policy(), looks_per_second=settings.looks_per_second)
        observer = Observer(self.accounts, rpc)
        hands = Hands(observer, self._launcher(rpc, admitter, clock=clock), Closer(self.accounts, rpc))
        self.reconciler = self._reconciler(jobs, applier, hands, calm, clock=clock)
        listings = Listings(clock=clock, fresh_for=settings.active_check / 2)
        watcher = Watcher(observer, accounts=self.accounts, rpc=rpc, listings=listings)
        rounds = Rounds(self.database, jobs, ledger, watcher, self.reconciler)
        self.pipeline = self._pipeline(claims, rounds, calm, clock=clock)
        self.intake = Intake(self.database, jobs, claims, applier, self.reconciler, admitter, clock=clock)
        self.sweep = OrphanSweep(
            self.database, jobs, accounts=self.accounts, vault=self.vault, clock=clock, pause=settings.absence_pause
        )
        self.settlement = self._settlement(jobs, ledger, clock=clock)
        self._subscribe(
            Answers(self.database, jobs, self.accounts, self.vault),
            Budgets(self.database, ledger, clock=clock),
            QueueAnswers(self.database, slots, clock=clock),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def _vault(self, factories: Mapping[str, ProviderFactory], *, clock: Clock) -> Vault:
        settings = self.settings
        return Vault(
            self.database,
            vault_keys(settings.vault_key_file),
            checks=checks(factories, hub_url=settings.hub_url, wandb_url=settings.wandb_url),
            clock=clock,
        )

    def _launcher(self, rpc: RpcClient, admitter: Admitter, *, clock: Clock) -> Launcher:
        urls = PublicUrls(metrics=self.settings.metrics_public_url, gateway=self.settings.gateway_public_url)
        commands = PodCommands(rpc, self.settings.pod_limits())
        return Launcher(self.accounts, self.vault, admitter, commands, urls=urls, clock=clock)

    def _admitter(self, rpc: RpcClient, *, clock: Clock) -> Admitter:
        settings = self.settings
        return Admitter(
            rpc,
            job_token_lifetime=settings.job_token_lifetime,
            download_lifetime=settings.download_lifetime,
            clock=clock,
        )

    def _reconciler(
        self, jobs: JobRepository, applier: Applier, hands: Hands, calm: Calm, *, clock: Clock
    ) -> Reconciler:
        return Reconciler(
            self.database,
            jobs,
            applier,
            hands,
            accounts=self.accounts,
            policy=self.settings.policy(),
            clock=clock,
            after_commit=self.relay.wake,
            calm=calm,
        )

    def _pipeline(self, claims: ClaimRepository, rounds: Rounds, calm: Calm, *, clock: Clock) -> Pipeline:
        settings = self.settings
        return Pipeline(
            self.database,
            claims,
            self.reconciler.reconcile,
            clock=clock,
            pace=Pace(settings.workers, settings.poll_interval, settings.stop_grace),
            after_commit=self.relay.wake,
            rounds=rounds.run,
            count_live=calm.count,
        )

    def _settlement(self, jobs: JobRepository, ledger: LedgerRepository, *, clock: Clock) -> Settlement:
        return Settlement(
            self.database,
            jobs,
            ledger,
            accounts=self.accounts,
            clock=clock,
            pace=SettlingPace(self.settings.bill_ask_every, self.settings.settle_for),
            after_commit=self.relay.wake,
        )

    def _subscribe(self, answers: Answers, budgets: Budgets, queue: QueueAnswers) -> None:
        job_subscribers.subscribe(self.bus, self.intake, self.pipeline)
        answer_subscribers.subscribe(self.bus, answers, budgets)
        vault_subscribers.subscribe(self.bus, self.vault)
        queue_subscribers.subscribe(self.bus, queue)
        self.bus.on_reconnect(self.relay.broker_returned)

    async def start(self) -> None:
        """Consume, answer and work. Fails if broker or consumers are not there."""
        await self.bus.start()
        self._tasks = begin_tasks(
            {
                "outbox relay": self.relay.run,
                "pipeline": self.pipeline.run,
                "settlement of bills": self.settlement.run,
                "orphan sweep": partial(self.sweep.run, every=self.settings.orphan_sweep_interval),
            }
        )

    async def stop(self) -> None:
        """Take nothing new, let running steps end, disconnect."""
        await end_tasks(self._tasks[1:])
        await self.pipeline.stop()
        await self.bus.stop()
        # What a command began while the others were ending.
        await self.pipeline.stop()
        await self._close()

    async def _close(self) -> None:
        await end_tasks(self._tasks)
        await self.accounts.close()
        await self.providers.close()
        await self.database.close()


def application(settings: DeployerSettings) -> FastAPI:
    """The HTTP face: health only."""
    deployer = Deployer(settings)

    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        await deployer.start()
        try:
            yield
        finally:
            await deployer.stop()

    return create_application(
        title="Stoker deployer",
        description="Job state machine, providers and ledger. Speaks over the bus; HTTP is for health only.",
        lifespan=lifespan,
        checks={"postgres": deployer.database.is_ready, "nats": deployer.bus.is_ready},
        prometheus_token=settings.prometheus_token,
    )
