"""No path of one machine and no address of a package registry in what is committed."""

import re
from collections.abc import Iterator

from tools.checks.source import Fault, Source

RULE = "foreign-address"

_PATTERNS = {
    "a path of one machine": re.compile(r"(?<![\w.\-~*}])/(?:work|opt|home|root|tmp|mnt|Users)/[\w.]"),
    "an address of a package registry": re.compile(
        r"pypi\.org|pythonhosted\.org|registry\.npmjs|download\.pytorch|\b(?:extra-)?index-url\b|find-links|artifactory",
        re.IGNORECASE,
    ),
}
# An image is a machine of our own making.
_IMAGES = ("Dockerfile", "compose.yaml")


def check(source: Source) -> Iterator[Fault]:
    """Faults of one file."""
    if source.path.name.startswith(_IMAGES) or source.path.match("tools/checks/foreign_address.py"):
        return
    for number, line in enumerate(source.lines, start=1):
        for what, pattern in _PATTERNS.items():
            found = pattern.search(line)
            if found:
                yield Fault(source.path, number, RULE, f"{found.group()!r} is {what}")
