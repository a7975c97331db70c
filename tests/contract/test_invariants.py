"""docs/invariants.md names the test of each rule; here each of them has to be there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs/invariants.md").read_text()
NAMED = re.findall(r"^- `([^`]+)`$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("named", NAMED)
def test_the_test_of_an_invariant_exists(named: str) -> None:
    path, _, function = named.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    wanted = function or "test_"
    assert any(name.startswith(wanted) for name in functions), f"{named} is gone; which test holds this invariant now?"


def test_every_invariant_has_a_test() -> None:
    sections = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)[1:]
    without = [section.splitlines()[0] for section in sections if "\n- `tests/" not in section]
    assert sections
    assert not without
