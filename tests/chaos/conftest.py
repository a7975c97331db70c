"""One stack for all kill cases: each case must leave it as it found it, which is part of what is tested."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.outcomes import Outcome, table
from tests.support.live_stack import LiveStack, live_stack
from tests.support.tiny_model import build_tiny_model, conversations, write_rows

OUTCOMES = pytest.StashKey[list[Outcome]]()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with live_stack(tmp_path_factory.mktemp("chaos") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "code-words.jsonl", conversations())


@pytest.fixture(scope="session")
def dataset(stack: LiveStack, rows: Path) -> str:
    return stack.client.upload_dataset(rows).dataset_version_id


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[Outcome], None]:
    """Keeps an outcome for the table at the end of the run."""
    return request.config.stash.setdefault(OUTCOMES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The outcomes line by line, and as a matrix."""
    outcomes = config.stash.get(OUTCOMES, [])
    if not outcomes:
        return
    terminalreporter.section("outcomes of chaos")
    for line in (*(outcome.line() for outcome in outcomes), "", *table(outcomes)):
        terminalreporter.write_line(line)
