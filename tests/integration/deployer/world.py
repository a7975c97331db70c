"""A deployer with all that it needs, and what must be true of every job whatever happened."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg

from stoker.stack.standalone import RunningNats
from stoker_deployer.main import Deployer
from stoker_deployer.providers.accounts import ProviderFactory
from stoker_deployer.providers.configured import configured_providers
from stoker_deployer.settings import DeployerSettings
from stoker_shared.clock import SystemClock
from stoker_shared.commands import CancelJob, LaunchJob, PlannedOffer
from stoker_shared.identifiers import new_identifier
from stoker_shared.job_state import TERMINAL, JobStatus, may_follow
from stoker_shared.money import ONE_USD
from stoker_shared.recipe import DataFormat, ModelChoice, Recipe
from stoker_shared.settings import read_settings
from stoker_shared.tasks import end_tasks
from tests.integration.deployer.peers import Peers
from tests.simulators.running import RunningSimulator
from tests.simulators.training_server import KEY, Machine, Simulator
from tests.support.servers import TestDatabase

FAST = {
    "LEASE": "3",
    "LOCAL_TIMEOUT": "2",
    "LOCAL_LAUNCH_TIMEOUT": "1.5",
    "POLL_INTERVAL": "0.05",
    "ACTIVE_CHECK": "0.1",
    "QUEUED_CHECK": "0.1",
    "FAILED_CHECK_MAX": "0.5",
    "ABSENCE_PAUSE": "0.4",
    "EXIT_REPORT_GRACE": "0.5",
    "RETRY_DELAY": "0.1",
    "CAPACITY_COOLDOWN": "0.2",
    "CAPACITY_PROBE": "0.5",
    "TERMINATE_RETRY": "0.05",
    "TERMINATE_RETRY_MAX": "0.5",
    "ACCRUE_EVERY": "0.2",
    "STOP_GRACE": "2",
}


@dataclass
class World:
    """Real NATS and PostgreSQL, a simulated training server, honest peers, any number of deployers."""

    nats: RunningNats
    database: TestDatabase
    server: RunningSimulator
    peers: Peers
    deployers: list[Deployer] = field(default_factory=list)
    factories: Mapping[str, ProviderFactory] = field(default_factory=dict)

    @property
    def simulator(self) -> Simulator:
        """The provider's side."""
        return self.server.simulator

    async def start_deployer(self, **settings: str) -> Deployer:
        """One more replica."""
        read = self.settings(**settings)
        configured = configured_providers(read, clock=SystemClock())
        deployer = Deployer(read, providers=replace(configured, factories=self.factories))
        await deployer.start()
        self.deployers.append(deployer)
        return deployer

    async def crash(self, deployer: Deployer) -> None:
        """What a killed process leaves behind: claims that nobody gives back, calls that nobody waits for."""
        self.deployers.remove(deployer)
        await end_tasks([*deployer.pipeline._held.values(), *deployer._tasks])
        await deployer.stop()

    async def launch(self, **changes: Any) -> LaunchJob:
        """Send a launch command."""
        command = launch_command(**changes)
        await self.peers.send(command)
        return command

    async def cancel(self, job_id: str) -> None:
        """Send a cancel command."""
        await self.peers.send(
            CancelJob(event_id=uuid4(), occurred_at=datetime.now(UTC), job_id=job_id, requested_by="user", why="test")
        )

    async def machine(self, name: str) -> Machine:
        """The machine of that name, when it is there."""
        await eventually(lambda: name in self.simulator.machines)
        return self.simulator.machines[name]

    async def until(self, job_id: str, status: JobStatus, *, seconds: float = 60) -> None:
        """Wait until the row says so."""
        async with asyncio.timeout(seconds):
            while True:
                if (await self.row(job_id))["status"] == status.value:
                    return
                await asyncio.sleep(0.02)

    async def row(self, job_id: str) -> dict[str, Any]:
        """The job's row; status "" if there is none."""
        rows = await self.query("SELECT * FROM jobs WHERE job_id = $1", job_id)
        return rows[0] if rows else {"status": ""}

    async def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Read the deployer's schema."""
        connection = await asyncpg.connect(self.database.url("deployer", driver="postgresql"))
        try:
            return [dict(row) for row in await connection.fetch(sql, *values)]
        finally:
            await connection.close()

    async def assert_sound(self, job_id: str, *, status: JobStatus | None = None, launches: int = 1) -> None:
        """What holds at the end of every job: machines gone, money accounted for, tokens dead, story told in order.

        `launches` is how often the provider was asked for the machine of one attempt.
        """
        row = await self.row(job_id)
        assert JobStatus(row["status"]) in TERMINAL
        assert status in (None, JobStatus(row["status"]))
        await self._assert_told(job_id, row)
        await self._assert_accounted(job_id, row)
        for number in range(1, row["attempt"] + 1):
            name = f"{job_id}-{number}"
            assert len(self.simulator.launches(name)) <= launches, name
            assert self.peers.revoked[job_id, number] == {"gateway", "metrics"}
        assert [machine for machine in self.simulator.living() if machine.name.startswith(job_id)] == []

    async def _assert_told(self, job_id: str, row: dict[str, Any]) -> None:
        await self.peers.until_told(job_id, row["status"])
        events = self.peers.events_of(job_id)
        assert [event.sequence for event in events] == list(range(1, row["sequence"] + 1))
        walked = list(dict.fromkeys(itertools.pairwise(event.status for event in events)))
        assert all(before == after or may_follow(before, after) for before, after in walked), walked

    async def _assert_accounted(self, job_id: str, row: dict[str, Any]) -> None:
        entries = await self.query("SELECT * FROM ledger_entries WHERE job_id = $1 ORDER BY at", job_id)
        balances: dict[str, int] = {}
        for entry in entries:
            balances[entry["debit"]] = balances.get(entry["debit"], 0) + entry["amount"]
            balances[entry["credit"]] = balances.get(entry["credit"], 0) - entry["amount"]
        spent = sum(amount for name, amount in balances.items() if name.startswith("spent:"))
        assert sum(balances.values()) == 0
        assert all(amount == 0 for name, amount in balances.items() if name.startswith("held:")), balances
        assert self.peers.events_of(job_id)[-1].spent_micro_usd == spent
        kinds = [(entry["attempt"], entry["kind"]) for entry in entries]
        for number in range(1, row["attempt"] + 1):
            for kind in ("reserve", "settle", "release"):
                assert (number, kind) in kinds

    def settings(self, **changes: str) -> DeployerSettings:
        """What a replica is started with."""
        values = {
            "NATS_URL": self.nats.url,
            "NATS_SEED_FILE": str(self.nats.seed_files["deployer"]),
            "DATABASE_URL": self.database.url("deployer"),
            "PORT": "20000",
            "PUBLIC_URL": "http://deployer.test",
            "METRICS_PUBLIC_URL": "http://metrics.test",
            "GATEWAY_PUBLIC_URL": "http://gateway.test",
            "LOCAL_URL": self.server.url,
            "LOCAL_API_KEY": KEY,
            **FAST,
            **changes,
        }
        return read_settings(DeployerSettings, {f"STOKER_DEPLOYER_{name}": value for name, value in values.items()})


async def eventually(question: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait until something of another thread or process is so."""
    async with asyncio.timeout(seconds):
        while True:
            if question():
                return
            await asyncio.sleep(0.02)


def launch_command(**changes: Any) -> LaunchJob:
    """A launch at one dollar an hour with a budget of one dollar."""
    offer = PlannedOffer(provider="local", gpu_type="cpu", gpu_count=0, price_micro_usd_per_hour=ONE_USD)
    fields: dict[str, Any] = {
        "event_id": uuid4(),
        "occurred_at": datetime.now(UTC),
        "job_id": new_identifier("job"),
        "owner": "user-00000000000000aa",
        "plan_id": "plan-00000000000000aa",
        "plan_hash": "0" * 64,
        "dataset_version_id": "dataset-00000000000000aa",
        "data_format": DataFormat.MESSAGES,
        "recipe": Recipe(model=ModelChoice(name_or_path="tiny")),
        "offers": [offer],
        "budget_micro_usd": ONE_USD,
        "max_attempts": 2,
    }
    return LaunchJob(**(fields | changes))
