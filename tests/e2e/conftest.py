"""One stack for the end-to-end tests: every service as a process, and a tiny model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import Collector, running_collector
from tests.support.live_stack import LiveStack, live_stack
from tests.support.tiny_model import build_tiny_model, conversations, write_rows


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the stack sends its spans."""
    with running_collector() as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[LiveStack]:
    with live_stack(tmp_path_factory.mktemp("e2e") / "data", otlp_endpoint=collector.url) as running:
        yield running


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 good rows."""
    return write_rows(tmp_path_factory.mktemp("data") / "code-words.jsonl", conversations())


@pytest.fixture(scope="session")
def dataset(stack: LiveStack, rows: Path) -> str:
    return stack.client.upload_dataset(rows).dataset_version_id
