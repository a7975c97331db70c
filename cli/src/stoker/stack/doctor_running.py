"""Checks of a running stack: each part is used as its users use it."""

import importlib.util
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import psutil
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from stoker.stack.doctor_providers import check_providers
from stoker.stack.errors import NotReady
from stoker.stack.findings import Finding, fault, ok, warning
from stoker.stack.keys import PROBE
from stoker.stack.keys import SERVICES as SCHEMAS
from stoker.stack.nats_server import jetstream_counts
from stoker.stack.object_store_server import BUCKET
from stoker.stack.postgres_roles import role_of
from stoker.stack.postgres_server import probe_login
from stoker.stack.services import SERVICES, StackFacts, http_probe
from stoker.stack.stack_file import StackFile
from stoker_shared.topology import TOPOLOGY

RunningCheck = Callable[[StackFacts, StackFile], Awaitable[list[Finding]]]


async def check_processes(facts: StackFacts, running: StackFile) -> list[Finding]:
    """Whether the processes of stack.json are alive."""
    dead = [entry.name for entry in running.processes if entry.pid is None or not psutil.pid_exists(entry.pid)]
    if dead:
        advice = f"The supervisor starts them again; if it keeps failing look into {facts.layout.logs}."
        return [fault("processes", f"not running: {', '.join(dead)}", advice=advice)]
    return [ok("processes", f"all {len(running.processes)} alive")]


async def check_services(facts: StackFacts, _running: StackFile) -> list[Finding]:
    """What each service says about itself."""
    findings = []
    for service in SERVICES:
        if service.port_name is None:
            continue
        log = facts.layout.log_file(service.name)
        try:
            await http_probe(f"{facts.local_url(service.port_name)}/readyz")()
        except NotReady as error:
            findings.append(fault(service.name, error.reason, advice=f"Its log is {log}."))
        else:
            findings.append(ok(service.name, f"ready at {facts.local_url(service.port_name)}"))
    return findings


async def check_broker(facts: StackFacts, _running: StackFile) -> list[Finding]:
    """Whether JetStream answers and holds the topology."""
    log = facts.layout.log_file("nats")
    try:
        streams, consumers = await jetstream_counts(facts.nats.url, facts.keys.nkey_seed_files[PROBE])
    except NotReady as error:
        return [fault("NATS", error.reason, advice=f"Its log is {log}.")]
    what = f"JetStream has {streams} streams and {consumers} consumers"
    if streams < TOPOLOGY.stream_count or consumers < len(TOPOLOGY.consumers):
        advice = f"The topology keeper makes them; its log is {facts.layout.log_file('topology-keeper')}."
        return [fault("NATS", f"{what}, some are missing", advice=advice)]
    return [ok("NATS", what)]


async def check_database(facts: StackFacts, _running: StackFile) -> list[Finding]:
    """Whether each role can log in and its schema is at the newest migration."""
    return [await _check_schema(facts, service) for service in SCHEMAS]


async def check_object_store(facts: StackFacts, _running: StackFile) -> list[Finding]:
    """Whether an object can be written, read and deleted."""
    try:
        await facts.object_store.probe()
    except NotReady as error:
        return [fault("object store", error.reason, advice=f"Its log is {facts.layout.log_file('object-store')}.")]
    return [ok("object store", f"bucket {BUCKET} at {facts.object_store.endpoint} is writable")]


async def _check_schema(facts: StackFacts, service: str) -> Finding:
    subject, role = f"database of {service}", role_of(service)
    try:
        await probe_login(facts.postgres.url(role))
        present = await _revision(facts.postgres.url(role))
    except NotReady as error:
        return fault(subject, f"{role}: {error.reason}", advice="Restart stoker up: it sets roles and passwords again.")
    wanted = newest_migration(f"stoker_{service}")
    if wanted is None:
        return warning(subject, f"{role} can log in; no migrations found", advice="Install the service's package.")
    if present != wanted:
        what = f"at migration {present or 'none'}, the newest is {wanted}"
        return fault(subject, what, advice="Restart stoker up: it migrates before it starts the services.")
    return ok(subject, f"{role} can log in; at migration {present}")


async def _revision(url: str) -> str | None:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    return revision


def newest_migration(package: str) -> str | None:
    """The head of a package's migrations, or None if it has none."""
    found = importlib.util.find_spec(package)
    locations = found.submodule_search_locations if found is not None else None
    for location in locations or ():
        folder = Path(location) / "migrations"
        if folder.is_dir():
            config = Config()
            config.set_main_option("script_location", str(folder).replace("%", "%%"))
            try:
                return ScriptDirectory.from_config(config).get_current_head()
            except CommandError:
                return None
    return None


RUNNING_CHECKS: tuple[RunningCheck, ...] = (
    check_processes,
    check_broker,
    check_database,
    check_object_store,
    check_services,
    check_providers,
)
