"""A file or a function that has grown too long to be read in one go."""

import ast
from collections.abc import Iterator

from tools.checks.source import Fault, Source

RULE = "size"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 45


def check(source: Source) -> Iterator[Fault]:
    """Faults of one file."""
    if not source.is_python:
        return
    if len(source.lines) > MAX_FILE_LINES:
        yield Fault(source.path, 1, RULE, f"{len(source.lines)} lines; split it at {MAX_FILE_LINES}")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = _length(node)
            if length > MAX_FUNCTION_LINES:
                message = f"{node.name} has {length} lines; split it at {MAX_FUNCTION_LINES}"
                yield Fault(source.path, node.lineno, RULE, message)


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    # Arguments, one a line, are a table: they do not make a function harder to follow.
    is_documented = ast.get_docstring(function, clean=False) is not None
    body = function.body[1:] if is_documented else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
