"""A real tiny model, its data, and a real receiver of a pod's reports."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pod_receiver import PodReceiver
from tests.support.tiny_model import build_tiny_model, conversations, write_rows

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
# A model this small is slower on several threads, which wait for each other on a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 0.65 M parameters with tokenizer and ChatML template."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 conversations about code words."""
    return write_rows(tmp_path_factory.mktemp("data") / "code_words.jsonl", conversations())


@pytest.fixture
def receiver(rows_file: Path) -> Iterator[PodReceiver]:
    """Takes reports and artifacts, serves the data file."""
    server = PodReceiver()
    server.dataset = rows_file.read_bytes()
    server.start()
    yield server
    server.downloads_open.set()
    server.stop()
