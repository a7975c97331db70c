"""The pod script: rendered from templates, pure. What it does on a pod is in docs/providers/runpod.md."""

import base64
import gzip
import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from stoker_deployer.pods.release import NoRelease, Release, RunpodRelease

PACKAGE = "stoker_deployer.pods"
UV_VERSION = "0.13.9"


@dataclass(frozen=True, slots=True)
class PodScript:
    """What the script of one attempt must know. It holds no secret: those come by the pod's environment, as does
    which trainer to fetch (`TRAINER_BUNDLE_URL`, `TRAINER_BUNDLE_SHA256`).

    `deadline` counts from the start of the container and includes `landing`, the time that a trainer has to save and
    upload when the machine ends itself; None: there is none. `silence` is how long the control plane may say nothing;
    None: for ever. `keep_alive` is how long the machine stays after a success.
    """

    version: str
    lock: str
    release: Release
    deadline: timedelta | None
    silence: timedelta | None = timedelta(minutes=30)
    landing: timedelta = timedelta(minutes=5)
    keep_alive: timedelta = timedelta(0)
    disk_needed_bytes: int = 10_000_000_000
    uv_version: str = UV_VERSION


class _Plain(str):
    """Text that may stand in the script as it is."""

    __slots__ = ()


def render(script: PodScript) -> str:
    """The script as text; the same for the same values.

    Raises:
        ValueError: a part would end the here-document that it stands in.
    """
    return _templates().get_template("pod.sh.j2").render(script=_View(script), guard_files=guard_files())


def container_command(text: str) -> str:
    """The start command of a container that runs a rendered script, as one string for a shell-like split."""
    packed = base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode()
    return shlex.join(["bash", "-c", _BOOTSTRAP.replace("@", packed)])


def trainer_lock() -> str:
    """Exact versions of what the trainer needs. Made by `python -m tools.pods`, not by hand."""
    return (files(PACKAGE) / "trainer.lock").read_text(encoding="utf-8")


def guard_files() -> list[tuple[str, str]]:
    """Name and text of each module of the guard."""
    folder = files(PACKAGE) / "guard"
    modules = [entry for entry in folder.iterdir() if entry.name.endswith(".py")]
    return sorted((entry.name, entry.read_text(encoding="utf-8")) for entry in modules)


# A folder that cannot be made or written is told on the container's output, which the provider keeps.
_BOOTSTRAP = (
    'set -eu; folder="${STOKER_POD_ROOT:-/workspace}/.stoker"; mkdir -p "$folder"; '
    'printf %s @ | base64 -d | gzip -dc >"$folder/pod.sh"; exec bash "$folder/pod.sh"'
)


class _View:
    """A PodScript in the units and words of the template."""

    def __init__(self, script: PodScript) -> None:
        self._script = script
        self.version = script.version
        self.lock = script.lock
        self.lock_sha256 = hashlib.sha256(script.lock.encode()).hexdigest()
        self.uv_version = script.uv_version
        self.disk_needed_mb = script.disk_needed_bytes // 1_000_000
        self.release_kind = script.release.kind
        self.release_url = script.release.url
        self.deadline_seconds = _seconds(script.deadline)
        self.silence_seconds = _seconds(script.silence)
        self.landing_seconds = _seconds(script.landing)
        self.keep_alive_seconds = _seconds(script.keep_alive)


def _seconds(value: timedelta | None) -> str:
    return f"{value.total_seconds():g}" if value else "0"


@cache
def _templates() -> Environment:
    # Bash's ${#name} looks like Jinja's comment, so comments are marked otherwise. Nothing is HTML here.
    environment = Environment(  # noqa: S701
        loader=PackageLoader(PACKAGE),
        undefined=StrictUndefined,
        finalize=_only_checked,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {"quoted": _quoted, "plain": _plain, "verbatim": _verbatim}
    return environment


def _only_checked(value: object) -> str:
    """A value that no filter has looked at never gets into a script."""
    if not isinstance(value, _Plain):
        raise TypeError(f"a value of the pod script is not quoted: {type(value).__name__}")
    return value


def _quoted(value: object) -> str:
    return _Plain(shlex.quote(str(value)))


def _plain(value: str) -> str:
    if not value.replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"not a plain name: {value!r}")
    return _Plain(value)


def _verbatim(text: str) -> str:
    """A text inside a quoted here-document."""
    if any(line in _here_document_ends() for line in text.splitlines()):
        raise ValueError("a text for the pod script holds the mark that ends its here-document")
    return _Plain(text if text.endswith("\n") else f"{text}\n")


def _here_document_ends() -> Iterator[str]:
    yield from ("END_OF_GUARD_FILE", "END_OF_LOCK")


__all__ = ["NoRelease", "PodScript", "RunpodRelease", "container_command", "guard_files", "render", "trainer_lock"]
