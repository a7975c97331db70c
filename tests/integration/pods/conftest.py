"""A tiny model, a receiver of reports, a provider's API, and containers that end with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.trainer.conftest import receiver, rows_file, tiny_model
from tests.support.pod_receiver import PodReceiver
from tests.support.pod_world import Container, Make, PodWorld

__all__ = ["receiver", "rows_file", "tiny_model"]


@pytest.fixture
def world() -> Iterator[PodWorld]:
    """The gateway's trainer and the provider."""
    served = PodWorld()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def make(world: PodWorld, receiver: PodReceiver, tmp_path: Path) -> Iterator[Make]:
    """Makes a container from changes of the script and variables; `root` is its disk."""
    made: list[Container] = []

    def container(changes: dict[str, object] | None = None, **variables: str) -> Container:
        root = tmp_path / "workspace"
        made.append(Container(world.script(**changes or {}), receiver, root, **world.trainer | variables))
        world.container = made[-1]
        return made[-1]

    yield container
    for one in made:
        one.kill()
        if one.process:
            one.process.wait()
