"""Time is an argument. Services ask a `Clock`; nothing that ships blocks a thread or makes a naive time."""

import ast
from collections.abc import Iterator

from tools.checks.source import Fault, Source, dotted

RULE = "time-not-passed-in"

_NEVER = {
    "time.sleep": "blocks; wait on an event or asyncio.sleep",
    "datetime.utcnow": "makes a time without a zone",
    "datetime.utcfromtimestamp": "makes a time without a zone",
}
_ONLY_IN_A_CLOCK = frozenset({"datetime.now", "time.time", "time.time_ns"})


def check(source: Source) -> Iterator[Fault]:
    """Faults of one file."""
    if not source.is_product:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            fault = _fault(node, must_ask_clock=source.is_service and source.path.name != "clock.py")
            if fault:
                yield Fault(source.path, node.lineno, RULE, fault)


def _fault(call: ast.Call, *, must_ask_clock: bool) -> str:
    name = ".".join(dotted(call.func).split(".")[-2:])
    if name in _NEVER:
        return f"{name}() {_NEVER[name]}"
    if name == "datetime.now" and not call.args and not call.keywords:
        return "datetime.now() makes a time without a zone"
    if must_ask_clock and name in _ONLY_IN_A_CLOCK:
        return f"{name}() asks the machine; take a Clock as an argument"
    return ""
