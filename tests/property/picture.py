"""All that can be seen from outside at one moment: rows, messages, the provider's truth."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from stoker_deployer.settings import DeployerSettings
from stoker_shared.commands import LaunchJob
from stoker_shared.job_state import JobStatus
from tests.simulators.hostile.cloud import Cloud, CloudMachine
from tests.simulators.hostile.peers import Peers

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """`attempts` by job and number, `told` by job.

    `last_look`: when a look at a job last came to its end. `was_set_back`: the clock, at any time in this history.
    """

    now: datetime
    was_set_back: bool
    jobs: dict[str, Row]
    attempts: dict[tuple[str, int], Row]
    entries: list[Row]
    budgets: list[Row]
    told: dict[str, list[Row]]
    commands: Mapping[str, LaunchJob]
    clouds: Mapping[str, Cloud]
    peers: Peers
    last_look: Mapping[str, datetime]
    settings: DeployerSettings

    def status(self, job_id: str) -> JobStatus:
        """Where a job stands."""
        return JobStatus(self.jobs[job_id]["status"])

    def balances(self, job_id: str) -> Counter[str]:
        """By account."""
        found: Counter[str] = Counter()
        for entry in self.entries:
            if entry["job_id"] == job_id:
                found[entry["debit"]] += entry["amount"]
                found[entry["credit"]] -= entry["amount"]
        return found

    def spent(self, job_id: str) -> int:
        """What all attempts of a job have cost."""
        return sum(amount for name, amount in self.balances(job_id).items() if name.startswith("spent:"))

    def machines(self) -> list[CloudMachine]:
        """All that there ever were, at all providers."""
        return [machine for cloud in self.clouds.values() for machine in cloud.machines.values()]

    def machine(self, attempt: Row) -> CloudMachine | None:
        """The machine that an attempt's row names."""
        return self.clouds[attempt["provider"]].machines.get(attempt["handle"] or "")


async def read_rows(connection: asyncpg.Connection) -> dict[str, Any]:
    """The fields of a picture that stand in the database."""
    told: defaultdict[str, list[Row]] = defaultdict(list)
    for row in await connection.fetch("SELECT payload::text AS payload FROM outbox ORDER BY id"):
        event = _decoded(row["payload"])
        told[event["job_id"]].append(event)
    attempts = await connection.fetch("SELECT * FROM attempts ORDER BY job_id, number")
    return {
        "jobs": {row["job_id"]: row for row in await connection.fetch("SELECT * FROM jobs ORDER BY job_id")},
        "attempts": {(row["job_id"], row["number"]): row for row in attempts},
        "entries": await connection.fetch("SELECT * FROM ledger_entries"),
        "budgets": await connection.fetch("SELECT * FROM budgets"),
        "told": dict(told),
    }


def _decoded(payload: str) -> Row:
    decoded: Row = json.loads(payload)
    return decoded
