"""The three servers one by one, for tests and tools: context managers that need no running event loop."""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from minio import Minio
from pydantic import SecretStr

from stoker.stack import ports as port_choice
from stoker.stack.errors import NotReady, ProcessFailed
from stoker.stack.keys import NATS_USERS, StackKeys, load_or_make_keys, nkey_seeds, public_key
from stoker.stack.layout import Layout
from stoker.stack.nats_server import NatsServer
from stoker.stack.object_store_server import ObjectStoreServer
from stoker.stack.port_holding import HeldPorts
from stoker.stack.postgres_server import PostgresServer
from stoker.stack.processes import Child, describe_exit
from stoker.stack.supervised import Blueprint
from stoker_shared.permissions import PERMISSIONS, Permission

ResultT = TypeVar("ResultT")
READY_SECONDS = 60.0


class LoopThread:
    """An event loop in a thread of its own. Children started in it live as long as the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stack servers", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine to its end from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RunningServer:
    """A server that is not supervised: what is killed stays dead until `start`."""

    def __init__(self, blueprint: Blueprint, loop: LoopThread) -> None:
        self._blueprint = blueprint
        self._child = Child(blueprint.spec)
        self.loop = loop

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._child.pid

    @property
    def log_file(self) -> Path:
        """Where its output goes."""
        return self._blueprint.spec.log_file

    def start(self) -> None:
        """Start the server and return when it works.

        Raises:
            ProcessFailed: it ended or did not become ready.
        """
        self.loop.run(self._start())

    def stop(self) -> None:
        """End the server orderly."""
        self.loop.run(self._child.stop())

    def kill(self) -> None:
        """End the server with SIGKILL; what it had not written is lost."""
        self._child.signal(signal.SIGKILL)
        self.loop.run(self._child.stop(patience=timedelta()))

    def restart(self) -> None:
        """Stop the server orderly and start it again on the same port."""
        self.stop()
        self.start()

    async def run_provision(self) -> None:
        """Bring what the server holds up to date."""
        if self._blueprint.provision is not None:
            await self._blueprint.provision()

    async def _start(self) -> None:
        if self._blueprint.prepare is not None:
            await self._blueprint.prepare()
        self._child.start()
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._until_ready()
        except BaseException:
            await self._child.stop(patience=timedelta())
            raise
        await self.run_provision()

    async def _until_ready(self) -> None:
        while True:
            try:
                await self._blueprint.probe()
            except NotReady:
                await asyncio.sleep(0.05)
            else:
                return
            if (status := self._child.exit_status()) is not None:
                spec = self._blueprint.spec
                raise ProcessFailed(
                    spec.name, describe_exit(status), log_file=spec.log_file, last_lines=self._child.last_lines()
                )


class RunningNats(RunningServer):
    """A broker. `seed_files` are by principal."""

    def __init__(self, server: NatsServer, *, seed_files: Mapping[str, Path], loop: LoopThread) -> None:
        super().__init__(server.blueprint(log_file=server.folder / "nats.log"), loop)
        self.url = server.url
        self.monitor_url = server.monitor_url
        self.seed_files = seed_files

    def seed(self, principal: str) -> str:
        """The seed of a principal, as text."""
        return self.seed_files[principal].read_text()


class RunningPostgres(RunningServer):
    """A database server with the roles and the database of the stack. `passwords` are by role."""

    def __init__(self, server: PostgresServer, *, passwords: Mapping[str, SecretStr], loop: LoopThread) -> None:
        super().__init__(server.blueprint(log_file=server.folder.parent / "postgres.log"), loop)
        self.port = server.port
        self.passwords = passwords
        self._server = server

    def url(self, role: str, *, database: str = "stoker", driver: str = "postgresql") -> str:
        """The address for a role, with its password."""
        return self._server.url(role, database=database, driver=driver)


class RunningObjectStore(RunningServer):
    """An object store."""

    def __init__(self, server: ObjectStoreServer, *, keys: StackKeys, loop: LoopThread) -> None:
        super().__init__(server.blueprint(log_file=server.folder.parent / "object-store.log"), loop)
        self.endpoint = server.endpoint
        self.access_key: SecretStr = keys.s3_access_key
        self.secret_key: SecretStr = keys.s3_secret_key
        self._server = server

    def client(self) -> Minio:
        """An SDK client that gives up within seconds."""
        return self._server.client()


@contextmanager
def running_nats(folder: Path, permissions: Mapping[str, Permission] | None = None) -> Iterator[RunningNats]:
    """A broker with its data in `folder`; `permissions` by principal, those of the contract if None."""
    granted = PERMISSIONS if permissions is None else permissions
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seeds = nkey_seeds(folder, dict.fromkeys((*NATS_USERS, *granted)))
    held = HeldPorts()
    chosen = port_choice.choose_ports(folder / "ports.json", port_choice.NATS_PORTS, held=held)
    server = NatsServer(
        folder,
        ports=chosen.ports,
        public_keys={name: public_key(file) for name, file in seeds.items()},
        seed_files=seeds,
        permissions=granted,
    )
    with held, _loop_thread() as loop:
        yield from _run(RunningNats(server, seed_files=seeds, loop=loop))


@contextmanager
def running_postgres(folder: Path, run_as: str | None = None) -> Iterator[RunningPostgres]:
    """A database server with its data in `folder`."""
    layout, keys = _folder_with_keys(folder)
    held = HeldPorts()
    chosen = port_choice.choose_ports(layout.ports_file, port_choice.POSTGRES_PORTS, held=held)
    server = PostgresServer(
        layout.postgres, port=chosen.ports["postgres"], passwords=keys.postgres_passwords, run_as=run_as
    )
    with held, _loop_thread() as loop:
        yield from _run(RunningPostgres(server, passwords=keys.postgres_passwords, loop=loop))


@contextmanager
def running_object_store(folder: Path) -> Iterator[RunningObjectStore]:
    """An object store with its data in `folder`."""
    layout, keys = _folder_with_keys(folder)
    held = HeldPorts()
    chosen = port_choice.choose_ports(layout.ports_file, port_choice.OBJECT_STORE_PORTS, held=held)
    server = ObjectStoreServer(
        layout.object_store, ports=chosen.ports, access_key=keys.s3_access_key, secret_key=keys.s3_secret_key
    )
    with held, _loop_thread() as loop:
        yield from _run(RunningObjectStore(server, keys=keys, loop=loop))


ServerT = TypeVar("ServerT", bound=RunningServer)


def _run(server: ServerT) -> Iterator[ServerT]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def _loop_thread() -> Iterator[LoopThread]:
    loop = LoopThread()
    try:
        yield loop
    finally:
        loop.close()


def _folder_with_keys(folder: Path) -> tuple[Layout, StackKeys]:
    layout = Layout(folder)
    layout.create()
    return layout, load_or_make_keys(layout)
