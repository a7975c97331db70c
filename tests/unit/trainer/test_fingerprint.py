"""Which runs are the same run: another share of the batch on each device is, another effective batch is not."""

import pytest

from stoker_trainer.config import parse_config
from stoker_trainer.data import DataFacts
from stoker_trainer.dataset import Prepared, run_fingerprint
from tests.support.tiny_run import config_json


def _fingerprint(*, devices: int = 0, **changes: object) -> str:
    prepared = Prepared(train=None, held_out=None, facts=DataFacts(rows=1, is_conversational=True), sha256="a" * 64)
    return run_fingerprint(parse_config(config_json("tiny", **changes)), prepared, devices=devices)


def _batch(per_device: int, accumulation: int) -> dict[str, dict[str, int]]:
    return {"batch": {"per_device": per_device, "gradient_accumulation": accumulation, "max_length": 64}}


@pytest.mark.parametrize(
    ("per_device", "accumulation", "devices"), [(4, 2, 0), (1, 8, 1), (4, 1, 2), (1, 1, 8), (8, 1, 1)]
)
def test_another_share_on_each_device_is_the_same_run(per_device: int, accumulation: int, devices: int) -> None:
    assert _fingerprint(devices=devices, **_batch(per_device, accumulation)) == _fingerprint(**_batch(8, 1))


@pytest.mark.parametrize("changes", [_batch(4, 1), _batch(16, 1), {"seed": 18}, {"optimiser": {"learning_rate": 1e-3}}])
def test_other_settings_are_another_run(changes: dict[str, object]) -> None:
    assert _fingerprint(**changes) != _fingerprint()
