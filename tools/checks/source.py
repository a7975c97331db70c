"""What a check gets to see: one file, parsed once."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "dist", "build", "models"})
_KEPT_HIDDEN = frozenset({".ci", ".gitignore"})
_ALLOWED = re.compile(r"# allowed: (?P<rule>[a-z-]+), \S+")


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that is broken on a line."""

    path: PurePosixPath
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True)
class Source:
    """A text file of the repository; `path` is relative to its root."""

    path: PurePosixPath
    text: str

    @property
    def is_python(self) -> bool:
        """Whether `tree` can be asked for."""
        return self.path.suffix == ".py"

    @property
    def is_product(self) -> bool:
        """Whether this is code that ships, not a test or a tool."""
        return self.is_python and "src" in self.path.parts

    @property
    def is_service(self) -> bool:
        """Whether this is code of a service or of `shared`."""
        return self.is_product and self.path.parts[0] in {"services", "shared"}

    @cached_property
    def lines(self) -> list[str]:
        """The lines; line 1 is at index 0."""
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed module."""
        return ast.parse(self.text, filename=str(self.path))

    def allows(self, fault: Fault) -> bool:
        """Whether the line says that it breaks this rule on purpose, and why."""
        found = _ALLOWED.search(self.lines[fault.line - 1]) if 0 < fault.line <= len(self.lines) else None
        return found is not None and found["rule"] == fault.rule


def sources(root: Path) -> Iterator[Source]:
    """Every text file under `root` that may be committed."""
    for path in sorted(_files(root)):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or the like
        yield Source(PurePosixPath(path.relative_to(root).as_posix()), text)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression; calls and subscripts inside are left out."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    return ""


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        is_hidden = path.name.startswith(".") and path.name not in _KEPT_HIDDEN
        if is_hidden or path.name in _SKIPPED_FOLDERS or path.is_symlink():
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path
