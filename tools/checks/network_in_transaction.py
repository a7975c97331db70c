"""No network call inside a database transaction: it would hold row locks for as long as the other side takes.

Inside `async with ....transaction() as session`, and in every coroutine that is handed a `session`, only what works on
that session may be awaited: `session.exec(...)`, a call that gets `session` as an argument, or a method of an object
that was made from it.
"""

import ast
from collections.abc import Iterator

from tools.checks.source import Fault, Source, dotted

RULE = "network-in-transaction"


def check(source: Source) -> Iterator[Fault]:
    """Faults of one file."""
    if not source.is_product:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncWith):
            sessions = _sessions(node)
            if sessions is not None:
                yield from _faults(source, node.body, sessions)
        elif isinstance(node, ast.AsyncFunctionDef) and _is_handed_a_session(node):
            yield from _faults(source, node.body, {"session"})


def _sessions(block: ast.AsyncWith) -> set[str] | None:
    for item in block.items:
        owner, _, method = dotted(item.context_expr).rpartition(".")
        if isinstance(item.context_expr, ast.Call) and method == "transaction":
            # A driver's transaction has no name of its own: the connection is the session.
            return {item.optional_vars.id if isinstance(item.optional_vars, ast.Name) else owner}
    return None


def _is_handed_a_session(function: ast.AsyncFunctionDef) -> bool:
    arguments = function.args
    return any(argument.arg == "session" for argument in (*arguments.args, *arguments.kwonlyargs))


def _faults(source: Source, body: list[ast.stmt], sessions: set[str]) -> Iterator[Fault]:
    nodes = [node for statement in body for node in _walk(statement)]
    bound = sessions | _made_from(nodes, sessions)
    for node in nodes:
        for expression in _waited_for(node):
            if not _works_on(expression, bound):
                name = dotted(expression) or "something"
                yield Fault(
                    source.path,
                    expression.lineno,
                    RULE,
                    f"{name} is awaited inside a transaction but does not work on its session; do it before or after",
                )


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    # A function defined inside runs later, and a nested transaction is looked at by itself.
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _waited_for(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Await):
        return [node.value]
    if isinstance(node, ast.AsyncWith):
        return [item.context_expr for item in node.items]
    if isinstance(node, ast.AsyncFor):
        return [node.iter]
    return []


def _made_from(nodes: list[ast.AST], sessions: set[str]) -> set[str]:
    return {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _works_on(node.value, sessions)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _works_on(expression: ast.expr, bound: set[str]) -> bool:
    if isinstance(expression, ast.Await):
        return _works_on(expression.value, bound)
    if isinstance(expression, ast.Attribute | ast.Subscript):
        return _works_on(expression.value, bound)
    if isinstance(expression, ast.Name):
        return expression.id in bound
    if not isinstance(expression, ast.Call):
        return False
    given = [*expression.args, *(keyword.value for keyword in expression.keywords)]
    is_given = any(isinstance(argument, ast.Name) and argument.id in bound for argument in given)
    return is_given or _works_on(expression.func, bound)
