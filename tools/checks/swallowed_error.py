"""No error disappears: whoever catches everything raises it on, logs it or hands it over."""

import ast
from collections.abc import Iterator

from tools.checks.source import Fault, Source, dotted

RULE = "swallowed-error"

_BROAD = frozenset({"Exception", "BaseException"})


def check(source: Source) -> Iterator[Fault]:
    """Faults of one file."""
    if not source.is_python:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            fault = _fault(node)
            if fault:
                yield Fault(source.path, node.lineno, RULE, fault)
        elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "suppress" and _is_broad(node.args):
            yield Fault(source.path, node.lineno, RULE, "suppress() of every error; name the ones that are meant")


def _fault(handler: ast.ExceptHandler) -> str:
    if handler.type is None:
        return "bare except; name the errors that are meant"
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    if _is_broad(types) and not _does_something(handler):
        return "every error is caught, and neither raised on, nor logged, nor handed over"
    return ""


def _is_broad(types: list[ast.expr]) -> bool:
    return any(dotted(name) in _BROAD for name in types)


def _does_something(handler: ast.ExceptHandler) -> bool:
    nodes = [node for statement in handler.body for node in ast.walk(statement)]
    is_raised = any(isinstance(node, ast.Raise) for node in nodes)
    is_logged = any(isinstance(node, ast.Call) and "log" in dotted(node.func).lower() for node in nodes)
    is_handed_over = handler.name is not None and any(
        isinstance(node, ast.Name) and node.id == handler.name for node in nodes
    )
    return is_raised or is_logged or is_handed_over
