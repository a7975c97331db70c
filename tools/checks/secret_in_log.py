"""No secret in a log call. Masking at the end of the chain is a net, not a licence."""

import ast
import re
from collections.abc import Iterator

from tools.checks.source import Fault, Source, dotted

RULE = "secret-in-log"

_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log", "bind"})
_SECRET = re.compile(r"(^|_)(token|key|secret|password|passwd|seed|authorization|credentials?|environment)$")
# Keys that open nothing.
_HARMLESS = frozenset({"ordering_key", "idempotency_key", "object_key", "primary_key"})


def check(source: Source) -> Iterator[Fault]:
    """Faults of one file."""
    if not source.is_product:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _is_log_call(node.func):
            names = ", ".join(dict.fromkeys(_secrets(node)))
            if names:
                yield Fault(source.path, node.lineno, RULE, f"a log call is given: {names}")


def _is_log_call(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in _METHODS:
        return False
    owner = dotted(function.value).rpartition(".")[2].lstrip("_")
    return owner in {"logger", "log", "logging", "get_logger"}


def _secrets(call: ast.Call) -> Iterator[str]:
    yield from (keyword.arg for keyword in call.keywords if keyword.arg and _is_secret(keyword.arg))
    for value in (*call.args, *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(value):
            name = _name(node)
            # A `key` under a name that says what it opens is fine: object_key=key.
            if name == "get_secret_value" or (name != "key" and _is_secret(name)):
                yield name


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _is_secret(name: str) -> bool:
    return name not in _HARMLESS and _SECRET.search(name.lower()) is not None
