"""One deployer, wired by its own `main`, with database, providers and peers at the end of a line.

All that these tests know of the deployer's wiring stands in this file.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from pydantic import SecretStr

from stoker_deployer import main
from stoker_deployer.jobs.errors import ClaimLost
from stoker_deployer.pipeline.claims import Claim
from stoker_deployer.pipeline.repository import ClaimRepository
from stoker_deployer.providers import Provider
from stoker_deployer.providers.accounts import ProviderFactory
from stoker_deployer.providers.configured import Providers
from stoker_deployer.settings import DeployerSettings
from stoker_deployer.vault.errors import SecretNotSet
from stoker_shared.clock import Clock
from stoker_shared.commands import CancelJob, LaunchJob
from stoker_shared.database import Database
from stoker_shared.errors import ProviderError, TransientError
from stoker_shared.rpc.deployer import RemoveSecret, SetSecret, VaultKeyQuery
from stoker_shared.sealing import seal
from stoker_shared.sealing.keys import add_key
from stoker_shared.settings import read_settings
from tests.simulators.hostile.cloud import Cloud
from tests.simulators.hostile.line import Line, LinedDatabase
from tests.simulators.hostile.peers import LinedRpc, Peers
from tests.simulators.hostile.provider import HostileProvider

_GIVE_BACK_AFTER = timedelta(seconds=5)
_AT_ONCE = 16


@dataclass
class Surroundings:
    """What all replicas of a history share."""

    clock: Clock
    database: Database
    clouds: Mapping[str, Cloud]
    peers: Peers
    settings: DeployerSettings
    keyed: frozenset[str] = frozenset()
    """Clouds at which the owner of the jobs has an account of the own; the others are the operator's."""
    looked: dict[str, datetime] = field(default_factory=dict)
    """When a look at a job last came to its end."""


class Replica:
    """The steps that the deployer's loops would take by themselves, one by one."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.line = Line()
        self._deployer = _wired(around, self.line)
        self._database = self._deployer.database
        self._claims = ClaimRepository(owner="property", lease=around.settings.lease)
        self._held: list[Claim] = []

    async def launch(self, command: LaunchJob) -> None:
        """Take a launch command, and go on with the job at once if it may begin."""
        claim = await self._deployer.intake.launch(command)
        if claim is not None:
            await self._work_on(claim)

    async def cancel(self, command: CancelJob) -> None:
        """Take a cancel command."""
        await self._deployer.intake.cancel(command)

    async def nudge(self, job_id: str) -> None:
        """A pod event."""
        await self._deployer.intake.wake(job_id)

    async def work(self) -> None:
        """Claim what is due and reconcile it: several jobs in a round first, as the pipeline does with many."""
        async with self._database.transaction() as session:
            claims = await self._claims.claim_due(session, now=self._around.clock.now(), limit=_AT_ONCE)
        claims.sort(key=lambda claim: claim.job_id)
        for claim in claims if len(claims) == 1 else await self._round(claims):
            await self._work_on(claim)

    async def _round(self, claims: list[Claim]) -> list[Claim]:
        self._held += claims
        try:
            rest = await self._deployer.pipeline._look_at_all(claims)
        except TransientError:
            for claim in claims:
                await _may_fail(self._give_back(claim))
            return []
        finally:
            for claim in claims:
                self._held.remove(claim)
        now, left = self._around.clock.now(), {claim.job_id for claim in rest}
        self._around.looked.update({claim.job_id: now for claim in claims if claim.job_id not in left})
        return sorted(rest, key=lambda claim: claim.job_id)

    async def renew(self) -> None:
        """What happens each third of a lease."""
        if self._held:
            await self._deployer.pipeline._renew(list(self._held))

    async def set_key(self, owner: str, name: str, value: str) -> None:
        """What the api does when a user sets a key."""
        key = await self._deployer.vault.vault_key(VaultKeyQuery())
        sealed = seal(SecretStr(value), owner=owner, name=name, public_key=key.public_key)
        await self._deployer.vault.set_secret(SetSecret(owner=owner, name=name, sealed=sealed, key_id=key.key_id))

    async def remove_key(self, owner: str, name: str) -> None:
        """What the api does when a user removes a key."""
        try:
            await self._deployer.vault.remove_secret(RemoveSecret(owner=owner, name=name))
        except SecretNotSet:
            return

    async def sweep(self) -> None:
        """One round of the orphan sweep."""
        try:
            accounts = await self._deployer.accounts.all()
        except TransientError:
            return
        for account in accounts:
            await _may_fail(self._deployer.sweep.sweep(account))
        await _may_fail(self._deployer.vault.wipe_needless())

    async def _work_on(self, claim: Claim) -> None:
        self._held.append(claim)
        try:
            await self._deployer.reconciler.reconcile(claim)
        except ClaimLost:
            return
        except TransientError:
            await _may_fail(self._give_back(claim))
        else:
            self._around.looked[claim.job_id] = self._around.clock.now()
        finally:
            self._held.remove(claim)

    async def _give_back(self, claim: Claim) -> None:
        async with self._database.transaction() as session:
            later = self._around.clock.now() + _GIVE_BACK_AFTER
            await self._claims.give_back(session, [claim], next_check_at=later)


def deployer_settings(database_url: str, *, seed_file: Path, **changes: str) -> DeployerSettings:
    """The settings that a real deployer has by default; broker and services are named, and never asked."""
    add_key(key_file := seed_file.with_name("vault.keys"))
    values = {
        "VAULT_KEY_FILE": str(key_file),
        "NATS_URL": "nats://127.0.0.1:9",
        "NATS_SEED_FILE": str(seed_file),
        "DATABASE_URL": database_url,
        "PORT": "20000",
        "PUBLIC_URL": "http://deployer.test",
        "METRICS_PUBLIC_URL": "http://metrics.test",
        "GATEWAY_PUBLIC_URL": "http://gateway.test",
        **changes,
    }
    return read_settings(DeployerSettings, {f"STOKER_DEPLOYER_{name}": value for name, value in values.items()})


def _wired(around: Surroundings, line: Line) -> main.Deployer:
    # The real wiring, whatever its parts are: only its ends are held by us.
    operators: dict[str, Provider] = {
        name: HostileProvider(cloud, name=name, line=line)
        for name, cloud in around.clouds.items()
        if name not in around.keyed
    }
    factories = {name: _factory(name, around.clouds[name], line) for name in around.keyed}
    with (
        patch.object(main, "Database", lambda *_, **__: LinedDatabase(around.database, line)),
        patch.object(main, "RpcClient", lambda _bus: LinedRpc(around.peers, line)),
    ):
        return main.Deployer(around.settings, clock=around.clock, providers=Providers(operators, factories))


def _factory(name: str, cloud: Cloud, line: Line) -> ProviderFactory:
    return lambda key: HostileProvider(cloud, name=name, line=line, key=key.get_secret_value())


async def _may_fail(work: Awaitable[object]) -> None:
    # As the loops do: they log it and come again.
    try:
        await work
    except (ProviderError, TransientError):
        return
