"""How the attempt ended, as the pod script wrote it down, and whether the trainer has told it already."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Settings

MEMORY_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
KILLED = 137


@dataclass(frozen=True)
class Ending:
    """The content of the file `ended`."""

    exit_code: int
    reason: str
    message: str


def read_ending(settings: Settings) -> Ending | None:
    """None: the attempt goes on."""
    try:
        code, reason, message = (settings.state / "ended").read_text(errors="replace").rstrip("\n").split("\n", 2)
        return Ending(int(code), reason, message)
    except FileNotFoundError:
        return None
    except ValueError as error:
        return Ending(1, "pod_setup_failed", f"the pod script left no readable end: {error}")


def trainers_report(settings: Settings) -> dict[str, Any] | None:
    """What the trainer has written down as its exit report; None if it died before."""
    folder = settings.workspace / "spool" / f"attempt-{settings.attempt}" / "exit"
    for path in sorted(folder.glob("*.segment"), reverse=True):
        checksum, _, body = path.read_bytes().partition(b"\n")[0].partition(b" ")
        if checksum == b"%08x" % zlib.crc32(body):
            return dict(json.loads(body))
    return None


def with_cause(ending: Ending) -> Ending:
    """A trainer that was killed because memory was short is told apart from one that was killed otherwise."""
    if ending.exit_code == KILLED and memory_kills() > 0:
        message = f"{ending.message}; the kernel ended it because the container's memory was used up"
        return Ending(ending.exit_code, "out_of_memory", message)
    return ending


def memory_kills() -> int:
    """How many processes of this container the kernel has killed for memory; 0 if it does not tell."""
    for path in MEMORY_EVENTS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return 0
