"""Free ports on 127.0.0.1, remembered so that the addresses of a stack stay the same from start to start."""

import json
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from stoker.stack.errors import NoFreePort, PortTaken, StateFileDamaged
from stoker.stack.layout import read_json, write_private
from stoker.stack.port_holding import LOOPBACK, HeldPorts

# The kernel hands out ports from 32768 on to outgoing connections: a server there may find its port gone.
LOW, HIGH = 20_000, 32_767
# SeaweedFS dials its admin server at port + 10000 whatever the options say, so that one must be free too.
COMPANION_OFFSET = 10_000
WITH_COMPANION = frozenset({"object_store_admin"})
# Tried first: people type this one.
PREFERRED = {"api": 8600}

NATS_PORTS = ("nats", "nats_monitor")
POSTGRES_PORTS = ("postgres",)
OBJECT_STORE_PORTS = (
    "object_store",
    "object_store_grpc",
    "object_store_master",
    "object_store_master_grpc",
    "object_store_volume",
    "object_store_volume_grpc",
    "object_store_filer",
    "object_store_filer_grpc",
    "object_store_admin",
)
SERVICE_PORTS = ("api", "deployer", "dataset_gateway", "metrics", "training_server")
ALL_PORTS = (*NATS_PORTS, *POSTGRES_PORTS, *OBJECT_STORE_PORTS, *SERVICE_PORTS)

_TRIES = 500


@dataclass(frozen=True, slots=True)
class PortChoice:
    """The ports by name, and what the user should hear about how they came about."""

    ports: Mapping[str, int]
    notices: tuple[str, ...] = ()


def choose_ports(
    file: Path, names: Iterable[str], *, held: HeldPorts, asked: Mapping[str, int] | None = None
) -> PortChoice:
    """Ports for `names`: as asked, else as remembered in `file`, else free ones; the result is remembered and held.

    Raises:
        PortTaken: a port of `asked` is in use.
        NoFreePort: the range is exhausted.
    """
    remembered, notices = _remembered(file)
    chosen: dict[str, int] = {}
    asked = asked or {}
    for name, wanted in asked.items():
        if not held.take_over(wanted):
            raise PortTaken(wanted, holder_of(wanted))
        chosen[name] = wanted
    for name in names:
        if name in asked:
            continue
        port = _remembered_port(name, remembered.get(name), chosen, held)
        if port is None:
            port = _free_port(name, chosen, held)
            if name in remembered:
                notices.append(_moved(name, remembered[name], port))
        chosen[name] = port
    write_private(file, json.dumps({**remembered, **chosen}, indent=1))
    return PortChoice(ports=chosen, notices=tuple(notices))


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do it: connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str | None:
    """The process that listens on the port, as `name (pid 1)`, or None where that cannot be seen."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return _process_name(connection.pid)
    return None


def _process_name(pid: int | None) -> str | None:
    if pid is None:
        return None
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"process {pid}"


def _remembered(file: Path) -> tuple[dict[str, int], list[str]]:
    try:
        content = read_json(file) or {}
    except StateFileDamaged as fault:
        aside = file.with_suffix(".damaged")
        file.replace(aside)
        return {}, [f"{fault.detail} It was put aside as {aside.name}; new ports were picked."]
    ports = {name: port for name, port in content.items() if isinstance(port, int) and 1024 <= port <= 65_535}
    return ports, []


def _remembered_port(name: str, port: int | None, chosen: Mapping[str, int], held: HeldPorts) -> int | None:
    if port is None or port in chosen.values():
        return None
    wanted = [port, *_companions(name, port)]
    return port if all(map(is_free, wanted)) and all(map(held.take_over, wanted)) else None


def _companions(name: str, port: int) -> list[int]:
    return [port + COMPANION_OFFSET] if name in WITH_COMPANION else []


def _free_port(name: str, chosen: Mapping[str, int], held: HeldPorts) -> int:
    preferred = PREFERRED.get(name)
    if preferred is not None and preferred not in chosen.values() and held.take(preferred):
        return preferred
    low, high = (LOW - COMPANION_OFFSET, HIGH - COMPANION_OFFSET) if name in WITH_COMPANION else (LOW, HIGH)
    for _ in range(_TRIES):
        port = low + secrets.randbelow(high - low + 1)
        wanted = [port, *_companions(name, port)]
        if not set(wanted) & set(chosen.values()) and all(map(held.take, wanted)):
            return port
    raise NoFreePort(low, high)


def _moved(name: str, old: int, new: int) -> str:
    holder = holder_of(old)
    return f"Port {old} of {name} is taken{f' by {holder}' if holder else ''}; {new} is used from now on."


def listens_on(pid: int, port: int) -> bool:
    """Whether a process or one of its children listens on a port. True as well if that cannot be found out."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for member in family
            for connection in member.net_connections(kind="tcp")
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
