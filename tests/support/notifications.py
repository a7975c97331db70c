"""Notifications for tests: the service with a key of its own, events of the deployer, and what an owner asks."""

import base64
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from pydantic import SecretStr

from stoker_metrics.main import build
from stoker_metrics.notifications.reaching import Resolver, system_resolver
from stoker_metrics.settings import MetricsSettings
from stoker_shared.bus import Bus, RpcClient
from stoker_shared.clock import Clock
from stoker_shared.events import Event, JobEvent, JobQueued
from stoker_shared.identifiers import new_identifier
from stoker_shared.job_state import JobStatus
from stoker_shared.rpc import notifications as rpc
from stoker_shared.rpc.deployer import VaultKeyQuery
from stoker_shared.sealing import seal
from stoker_shared.settings import read_settings
from stoker_shared.signing_secrets import new_signing_secret

OWNER = "user-0000000000000001"
STRANGER = "user-0000000000000002"
JOB = "job-00000000000000aa"
LOOPBACK = (ip_network("127.0.0.1/32"),)


def key_file(folder: Path) -> Path:
    """A file with one key."""
    file = folder / "sealing.keys"
    file.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    return file


@asynccontextmanager
async def notifying(
    variables: Mapping[str, str],
    *,
    clock: Clock,
    keys: Path,
    resolver: Resolver = system_resolver,
    **changes: Any,
) -> AsyncIterator[FastAPI]:
    """The service in this process; receivers on this machine may be reached over plain HTTP."""
    settings = read_settings(MetricsSettings, variables).model_copy(
        update={
            "sealing_key_file": keys,
            "webhook_allow_http": True,
            "webhook_allowed_networks": LOOPBACK,
            "api_public_url": "https://stoker.example",
            "notify_clock_every": timedelta(milliseconds=200),
            **changes,
        }
    )
    application = build(settings, clock=clock, resolver=resolver)
    async with application.router.lifespan_context(application):
        yield application


@dataclass
class Owner:
    """What the api asks for one owner."""

    api: RpcClient
    owner: str = OWNER
    secret: SecretStr = field(default_factory=lambda: SecretStr(""))

    async def add(self, address: str, *, kind: str = "webhook", name: str = "") -> rpc.TargetFacts:
        """A target; the secret of a webhook is kept in `secret`."""
        target_id = new_identifier("target")
        key = await self.api.ask(rpc.NOTIFY_KEY, VaultKeyQuery())
        self.secret = new_signing_secret()

        def sealed(value: SecretStr, what: str) -> str:
            return seal(value, owner=self.owner, name=rpc.box_name(target_id, what), public_key=key.public_key)

        asked = rpc.AddTarget(
            owner=self.owner,
            target_id=target_id,
            name=name or target_id,
            kind=kind,  # type: ignore[arg-type]
            sealed_address=sealed(SecretStr(address), rpc.ADDRESS_NAME),
            sealed_signing=sealed(self.secret, rpc.SIGNING_NAME) if kind == "webhook" else None,
            key_id=key.key_id,
        )
        return await self.api.ask(rpc.ADD_TARGET, asked)

    async def rotate(self, target_id: str, *, overlap: timedelta) -> SecretStr:
        """Another signing secret; returns it."""
        key = await self.api.ask(rpc.NOTIFY_KEY, VaultKeyQuery())
        new = new_signing_secret()
        box = seal(new, owner=self.owner, name=rpc.box_name(target_id, rpc.SIGNING_NAME), public_key=key.public_key)
        asked = rpc.RotateSigning(
            owner=self.owner,
            target_id=target_id,
            sealed_signing=box,
            key_id=key.key_id,
            overlap_seconds=int(overlap.total_seconds()),
        )
        await self.api.ask(rpc.ROTATE_SIGNING, asked)
        return new

    async def rule(self, target_id: str, *events: str, **more: Any) -> rpc.RuleFacts:
        """A rule."""
        asked = rpc.AddRule.model_validate({"owner": self.owner, "target_id": target_id, "events": events, **more})
        return await self.api.ask(rpc.ADD_RULE, asked)

    async def targets(self) -> list[rpc.TargetFacts]:
        """All of this owner."""
        return (await self.api.ask(rpc.TARGETS, rpc.OwnerQuery(owner=self.owner))).targets

    async def log(self, **query: Any) -> list[rpc.DeliveryFacts]:
        """Deliveries, newest first."""
        asked = rpc.DeliveriesQuery(owner=self.owner, **query)
        return (await self.api.ask(rpc.DELIVERIES, asked)).deliveries


def job_event(kind: type[Event], sequence: int, status: JobStatus, *, job_id: str = JOB, **fields: Any) -> JobEvent:
    """An event of a job as the deployer tells it."""
    known: dict[str, Any] = {
        "event_id": uuid4(),
        "occurred_at": datetime.now(UTC),
        "sequence": sequence,
        "job_id": job_id,
        "attempt": 1,
        "status": status,
        "spent_micro_usd": 1_250_000,
    }
    return kind(**(known | fields))  # type: ignore[return-value]


def queued(
    *, job_id: str = JOB, owner: str = OWNER, project: str = "p", budget: int = 5_000_000, **more: Any
) -> JobEvent:
    """The first event of a job."""
    told = {"owner": owner, "project": project, "budget_micro_usd": budget, "attempt": 0, "spent_micro_usd": 0}
    return job_event(JobQueued, 1, JobStatus.QUEUED, job_id=job_id, **(told | more))


async def tell(bus: Bus, *events: Event, again: bool = False) -> None:
    """Publish as the deployer; `again`: past the broker's own memory of messages."""
    for event in events:
        message_id = str(uuid4() if again else event.event_id)
        await bus.publisher.publish(event.subject, event.model_dump_json().encode(), message_id=message_id)
