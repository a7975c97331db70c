"""The whole system on one machine: infrastructure, migrations, services as each needs others, and back."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from stoker.stack.errors import DiskNearlyFull, StackError, StepFailed, UnknownProcess
from stoker.stack.keys import load_or_make_keys
from stoker.stack.layout import Layout
from stoker.stack.lock import FolderLock
from stoker.stack.nats_server import NatsServer
from stoker.stack.object_store_server import ObjectStoreServer
from stoker.stack.port_holding import HeldPorts
from stoker.stack.ports import ALL_PORTS, choose_ports
from stoker.stack.postgres_server import PostgresServer
from stoker.stack.processes import run_to_end
from stoker.stack.records import end_strays
from stoker.stack.restarts import RestartPolicy
from stoker.stack.services import SERVICES, ServiceSpec, StackFacts, migration_spec, service_blueprint
from stoker.stack.settings import StackSettings
from stoker.stack.stack_file import ProcessEntry, StackFile
from stoker.stack.supervised import Blueprint, ProcessStatus, SupervisedProcess
from stoker.stack.trainer_bundle import make_trainer_bundle
from stoker_shared.permissions import PERMISSIONS
from stoker_shared.tasks import end_tasks

DISK_LOOK_EVERY = timedelta(seconds=20)


class Observer(Protocol):
    """Hears what happens in a stack, in the order in which it happens."""

    def status(self, status: ProcessStatus) -> None:
        """A process changed."""
        ...

    def notice(self, text: str) -> None:
        """Something the user should know."""
        ...


class SilentObserver:
    """Hears and says nothing."""

    def status(self, status: ProcessStatus) -> None:
        """Nothing."""

    def notice(self, text: str) -> None:
        """Nothing."""


class Stack:
    """One stack on one data folder. Use it as `async with Stack(settings) as stack`, or `start` and `stop` by hand.

    Start it from a thread that outlives it: children end with the thread that started them.
    """

    def __init__(
        self,
        settings: StackSettings,
        *,
        services: Sequence[ServiceSpec] = SERVICES,
        policy: RestartPolicy | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.settings = settings
        self.layout = Layout(settings.data_dir)
        self._services = services
        self._policy = policy or RestartPolicy()
        self._observer = observer or SilentObserver()
        self._lock = FolderLock(self.layout.lock_file)
        self._ports = HeldPorts()
        self._processes: dict[str, SupervisedProcess] = {}
        self._facts: StackFacts | None = None
        self._disk_watch: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[tuple[str, ...]] | None = None
        self._is_up = False
        self._in_hurry = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def urls(self) -> Mapping[str, str]:
        """Addresses by service (`api`, `deployer`, ...), and of `nats` and `object_store`. No secrets."""
        if self._facts is None:
            return {}
        facts = self._facts
        served = {spec.port_name: facts.local_url(spec.port_name) for spec in self._services if spec.port_name}
        return {**served, "nats": facts.nats.url, "object_store": f"http://{facts.object_store.endpoint}"}

    @property
    def facts(self) -> StackFacts | None:
        """Keys, ports and servers, once `start` has gathered them. Holds secrets."""
        return self._facts

    @property
    def statuses(self) -> tuple[ProcessStatus, ...]:
        """All processes in the order of their start."""
        return tuple(process.status for process in self._processes.values())

    async def start(self) -> None:
        """Start everything; returns when all of it is ready. If that fails or is cancelled, nothing is left running.

        Raises:
            StackError: what stood in the way, and what to do about it.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> tuple[str, ...]:
        """Stop everything in reverse order and give the data folder free. Returns the names of what was stopped.

        A caller that is cancelled meanwhile does not stop the stopping; a second caller waits for the same end.
        """
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.create_task(self._stop(), name="stop the stack")
        return await asyncio.shield(self._stopping)

    async def _stop(self) -> tuple[str, ...]:
        self._is_up = False
        if self._disk_watch is not None:
            await end_tasks([self._disk_watch])
            self._disk_watch = None
        stopped = [
            process.name for process in reversed(self._processes.values()) if await process.stop(hurry=self._in_hurry)
        ]
        self._ports.release()
        if self._lock.is_held:
            self.layout.stack_file.unlink(missing_ok=True)
            self._lock.release()
        return tuple(stopped)

    def kill_all(self) -> None:
        """End every process with SIGKILL. `stop` must be running, or follow."""
        self._in_hurry = True
        for process in self._processes.values():
            process.kill_for_good()

    def kill(self, name: str) -> None:
        """SIGKILL to one process; it is started again by itself.

        Raises:
            UnknownProcess: there is none of that name.
        """
        self._process(name).kill()

    async def restart(self, name: str) -> None:
        """Stop one process and start it again; returns when it is ready.

        Raises:
            UnknownProcess: there is none of that name.
            ProcessFailed: it did not become ready again.
        """
        await self._process(name).restart()

    async def _start(self) -> None:
        self.check_disk()
        self.layout.create()
        self._lock.acquire()
        self.layout.stack_file.unlink(missing_ok=True)
        for stray in await asyncio.to_thread(end_strays, self.layout.run):
            self._observer.notice(f"Ended {stray}, left over from a supervisor that was killed.")
        facts = self._gather_facts()
        self._facts = facts
        await asyncio.to_thread(make_trainer_bundle, self.layout)
        infrastructure = self._infrastructure(facts)
        services = [service_blueprint(service, facts) for service in self._services]
        for blueprint in (*infrastructure, *services):
            self._add(blueprint)
        for blueprint in infrastructure:
            await self._processes[blueprint.spec.name].start()
        await self._migrate(facts)
        await self._start_services()
        self._is_up = True
        self._write_stack_file()
        self._disk_watch = asyncio.create_task(self._watch_disk(), name="watch the disk")

    async def _start_services(self) -> None:
        is_ready = {service.name: asyncio.Event() for service in self._services}

        async def start(service: ServiceSpec) -> None:
            for name in service.needs:
                await is_ready[name].wait()
            await self._processes[service.name].start()
            is_ready[service.name].set()

        try:
            async with asyncio.TaskGroup() as group:
                for service in self._services:
                    group.create_task(start(service), name=f"start {service.name}")
        except* StackError as failures:
            raise failures.exceptions[0] from None

    def check_disk(self) -> None:
        """See whether there is space to work with.

        Raises:
            DiskNearlyFull: there is not.
        """
        free, needed = self.layout.free_bytes(), self.settings.min_free_disk_bytes
        if free < needed:
            raise DiskNearlyFull(self.layout.root, free_bytes=free, needed_bytes=needed)

    def _gather_facts(self) -> StackFacts:
        asked = {"api": self.settings.port} if self.settings.port is not None else {}
        further = [service.port_name for service in self._services if service.port_name]
        choice = choose_ports(
            self.layout.ports_file, dict.fromkeys((*ALL_PORTS, *further)), held=self._ports, asked=asked
        )
        for notice in choice.notices:
            self._observer.notice(notice)
        return gather_facts(self.settings, self.layout, choice.ports)

    def _infrastructure(self, facts: StackFacts) -> tuple[Blueprint, ...]:
        log_file = self.layout.log_file
        return (
            facts.nats.blueprint(log_file=log_file("nats")),
            facts.postgres.blueprint(log_file=log_file("postgres")),
            facts.object_store.blueprint(log_file=log_file("object-store")),
        )

    def _add(self, blueprint: Blueprint) -> None:
        process = SupervisedProcess(
            blueprint,
            records=self.layout.run,
            policy=self._policy,
            ready_timeout=self.settings.ready_timeout,
            on_change=self._changed,
        )
        self._processes[process.name] = process
        self._observer.status(process.status)

    async def _migrate(self, facts: StackFacts) -> None:
        specs = [spec for service in self._services if (spec := migration_spec(service, facts)) is not None]
        if specs:
            self._observer.notice("Bringing the databases up to date.")
        try:
            # Side by side: most of their time goes into imports.
            async with asyncio.TaskGroup() as group:
                for spec in specs:
                    group.create_task(run_to_end(spec, patience=self.settings.step_timeout, records=self.layout.run))
        except* StepFailed as failures:
            raise failures.exceptions[0] from None

    def _changed(self, status: ProcessStatus) -> None:
        self._observer.status(status)
        if self._is_up:
            self._write_stack_file()

    def _write_stack_file(self) -> None:
        entries = tuple(ProcessEntry(status.name, status.pid, status.port) for status in self.statuses)
        content = StackFile(os.getpid(), self.urls, entries, self.layout.api_key_file)
        try:
            content.write(self.layout.stack_file)
        except OSError as error:
            self._observer.notice(f"{self.layout.stack_file} cannot be written: {error.strerror}.")

    async def _watch_disk(self) -> None:
        was_low = False
        while True:
            await asyncio.sleep(DISK_LOOK_EVERY.total_seconds())
            is_low = self.layout.free_bytes() < self.settings.min_free_disk_bytes
            if is_low and not was_low:
                free = self.layout.free_bytes() / 2**20
                self._observer.notice(
                    f"Only {free:.0f} MiB are left on the disk of {self.layout.root}: free some space."
                )
            was_low = is_low

    def _process(self, name: str) -> SupervisedProcess:
        try:
            return self._processes[name]
        except KeyError:
            raise UnknownProcess(name, tuple(self._processes)) from None


def gather_facts(settings: StackSettings, layout: Layout, ports: Mapping[str, int]) -> StackFacts:
    """Keys and servers of a data folder, none of them running yet.

    Raises:
        StackError: keys are damaged, or there is nobody to run PostgreSQL as.
    """
    keys = load_or_make_keys(layout)
    return StackFacts(
        settings=settings,
        layout=layout,
        keys=keys,
        ports=ports,
        nats=NatsServer(
            layout.nats,
            ports=ports,
            public_keys=keys.nkey_public_keys,
            seed_files=keys.nkey_seed_files,
            permissions=PERMISSIONS,
        ),
        postgres=PostgresServer(
            layout.postgres,
            port=ports["postgres"],
            passwords=keys.postgres_passwords,
            run_as=settings.postgres_system_user,
        ),
        object_store=ObjectStoreServer(
            layout.object_store, ports=ports, access_key=keys.s3_access_key, secret_key=keys.s3_secret_key
        ),
    )
