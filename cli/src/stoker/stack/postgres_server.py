"""The database: PostgreSQL from the wheel, on TCP loopback with passwords, run as ourselves or, for root, as nobody."""

import os
import shutil
import signal
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from stoker.stack.errors import NotReady
from stoker.stack.keys import POSTGRES_SUPERUSER
from stoker.stack.layout import write_private
from stoker.stack.port_holding import LOOPBACK
from stoker.stack.postgres_roles import DATABASE, provision_database, provision_roles
from stoker.stack.processes import ProcessSpec, SystemUser, run_to_end
from stoker.stack.programs import find_program
from stoker.stack.supervised import Blueprint
from stoker.stack.system_user import reachable_binaries, system_user

NAME = "postgres"
CONNECT_SECONDS = 3

# As root the server runs as somebody who cannot pass root's folders; the kernel starts it inside its data folder,
# and this path leads there without walking down from /.
_WHERE_IT_STANDS = "/proc/self/cwd"

PARAMETERS = {
    "listen_addresses": LOOPBACK,
    # TCP only: a socket's path may have 107 bytes at most.
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Never a statement with a password in the log.
    "log_min_error_statement": "panic",
}
ACCESS = f"host all all {LOOPBACK}/32 scram-sha-256\n"


class PostgresServer:
    """One PostgreSQL server in `folder`/data. `passwords` are by role."""

    def __init__(
        self, folder: Path, *, port: int, passwords: Mapping[str, SecretStr], run_as: str | None = None
    ) -> None:
        self.folder = folder
        self.port = port
        self._passwords = passwords
        self._user = system_user(run_as)
        self._data = folder / "data"

    def url(self, role: str, *, database: str = DATABASE, driver: str = "postgresql") -> str:
        """The address with the role's password in it: a secret."""
        password = self._passwords[role].get_secret_value()
        return f"{driver}://{role}:{password}@{LOOPBACK}:{self.port}/{database}"

    def blueprint(self, *, log_file: Path) -> Blueprint:
        """How the server runs. Its roles and schemas are brought up to date after each first start."""
        options = {**PARAMETERS, "port": str(self.port)}
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        spec = ProcessSpec(
            name=NAME,
            command=(str(self._binaries() / "postgres"), "-D", self._data_argument(self._data), *flags),
            log_file=log_file,
            environment=_ENVIRONMENT,
            folder=self._data,
            user=self._user,
            port=self.port,
            # Fast shutdown: SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            stop_timeout=timedelta(seconds=20),
        )

        async def prepare() -> None:
            await self._initialise(log_file.with_name("postgres-initdb.log"))

        return Blueprint(spec=spec, probe=self.probe, prepare=prepare, provision=self.provision)

    async def probe(self) -> None:
        """Log in and run a query.

        Raises:
            NotReady: the server does not answer or refuses.
        """
        await probe_login(self.url(POSTGRES_SUPERUSER, database="postgres"))

    async def provision(self) -> None:
        """Make roles, database and schemas, or bring them up to date."""
        await provision_roles(self.url(POSTGRES_SUPERUSER, database="postgres"), self._passwords)
        await provision_database(self.url(POSTGRES_SUPERUSER, database="postgres"), DATABASE)

    async def _initialise(self, log_file: Path) -> None:
        if not (self._data / "PG_VERSION").exists():
            await self._run_initdb(log_file)
        _write_as(self._data / "pg_hba.conf", ACCESS, self._user)

    async def _run_initdb(self, log_file: Path) -> None:
        # Made aside and moved when finished: an interrupted start leaves no half-made database.
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = self.folder / "superuser-password"
        _give(self.folder, self._user)
        _give(unfinished, self._user)
        _write_as(password_file, self._passwords[POSTGRES_SUPERUSER].get_secret_value(), self._user)
        here = self._data_argument(unfinished)
        command = (
            str(self._binaries() / "initdb"),
            *("-D", here, "-U", POSTGRES_SUPERUSER, f"--pwfile={here}/../superuser-password"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-instructions"),
        )
        spec = ProcessSpec(
            "postgres-initdb", command, log_file, environment=_ENVIRONMENT, folder=unfinished, user=self._user
        )
        try:
            await run_to_end(spec, patience=timedelta(minutes=2))
        finally:
            password_file.unlink(missing_ok=True)
        unfinished.rename(self._data)

    def _data_argument(self, folder: Path) -> str:
        return _WHERE_IT_STANDS if self._user is not None else str(folder)

    def _binaries(self) -> Path:
        return reachable_binaries(find_program("postgres").parent, self._user)


_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


async def probe_login(url: str) -> None:
    """Log in with the address and run a query.

    Raises:
        NotReady: the server does not answer or refuses; the reason holds no secret.
    """
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise NotReady(f"no login ({type(error).__name__})") from error
    try:
        await connection.fetchval("SELECT 1", timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotReady(f"no answer to a query ({type(error).__name__})") from error
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


def _write_as(file: Path, text: str, user: SystemUser | None) -> None:
    write_private(file, text)
    _give(file, user)


def _give(path: Path, user: SystemUser | None) -> None:
    if user is not None:
        os.chown(path, user.uid, user.gid)
