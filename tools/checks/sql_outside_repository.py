"""All SQL is in `repository.py`: whoever looks for a query knows where it is, and rules do not mix with rows."""

import ast
from collections.abc import Iterator

from tools.checks.source import Fault, Source

RULE = "sql-outside-repository"

_HOMES = frozenset({"repository.py", "tables.py"})
_FOLDERS = frozenset({"migrations", "outbox", "database"})
_BUILDERS = frozenset({"select", "text", "insert", "update", "delete"})
_LIBRARIES = ("sqlalchemy", "sqlmodel")
_SESSION_CALLS = frozenset(
    {"exec", "execute", "scalar", "scalars", "stream", "get", "add", "add_all", "delete", "merge", "refresh"}
)


def check(source: Source) -> Iterator[Fault]:
    """Faults of one file."""
    if not source.is_service or _may_hold_sql(source):
        return
    builders = _imported_builders(source.tree)
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        name = _sql_call(node, builders)
        if name:
            yield Fault(source.path, node.lineno, RULE, f"{name} belongs into the repository.py of its package")


def _may_hold_sql(source: Source) -> bool:
    # The outbox and the database package of `shared` are the repository of what every service has.
    return source.path.name in _HOMES or not _FOLDERS.isdisjoint(source.path.parts)


def _imported_builders(tree: ast.Module) -> set[str]:
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_LIBRARIES)
        for alias in node.names
        if alias.name in _BUILDERS
    }


def _sql_call(call: ast.Call, builders: set[str]) -> str:
    function = call.func
    if isinstance(function, ast.Name) and function.id in builders:
        return f"{function.id}()"
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return ""
    owner, method = function.value.id, function.attr
    is_session = owner == "session" and method in _SESSION_CALLS
    is_builder = owner in {"sa", "sqlalchemy"} and method in _BUILDERS
    return f"{owner}.{method}()" if is_session or is_builder else ""
