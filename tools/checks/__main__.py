"""Runs all checks over the repository."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tools.checks import (
    foreign_address,
    network_in_transaction,
    secret_in_log,
    size,
    sql_outside_repository,
    swallowed_error,
    time_not_passed_in,
)
from tools.checks.source import Fault, Source, sources

Check = Callable[[Source], Iterator[Fault]]

CHECKS: tuple[Check, ...] = (
    network_in_transaction.check,
    sql_outside_repository.check,
    secret_in_log.check,
    time_not_passed_in.check,
    size.check,
    foreign_address.check,
    swallowed_error.check,
)


def faults(files: Iterable[Source]) -> Iterator[Fault]:
    """What all checks find and no line allows."""
    for source in files:
        for check in CHECKS:
            yield from (fault for fault in check(source) if not source.allows(fault))


def main() -> int:
    """Print what is found. Returns 1 if there is anything."""
    # A transaction inside another coroutine's transaction is seen twice.
    found = sorted(set(faults(sources(Path.cwd()))), key=lambda fault: (str(fault.path), fault.line, fault.rule))
    print("\n".join(map(str, found)) or f"{len(CHECKS)} checks found nothing")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
