"""The configuration: strict, with defaults, and the same hash for the same run."""

import json
from pathlib import Path
from typing import Any

import pytest

from stoker_trainer.config import parse_config
from stoker_trainer.errors import InvalidConfig

SMALLEST: dict[str, Any] = {"model": {"name_or_path": "m"}, "data": {"format": "text"}}


def parse(**changes: Any) -> Any:
    return parse_config(json.dumps(SMALLEST | changes))


def test_defaults_are_those_of_the_recipe() -> None:
    config = parse()
    assert (config.lora.rank, config.lora.alpha, config.optimiser.learning_rate) == (16, 32, 2e-4)
    assert (config.held_out.fraction, config.length.max_steps, config.batch.max_length) == (0.1, 0, 512)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 1}, "learning_rate"),
        ({"optimiser": {"learning_rat": 1e-4}}, "optimiser.learning_rat"),
        ({"optimiser": {"learning_rate": -1}}, "optimiser.learning_rate"),
        ({"data": {"format": "dpo"}}, "data.format"),
        ({"data": {"format": "preference"}}, "method sft cannot learn from preference rows"),
        (
            {"data": {"format": "text", "conversion": "sharegpt"}},
            "data: .*conversion sharegpt makes messages, not text",
        ),
        ({"schema_version": 2}, "schema_version"),
        ({"batch": {"packing": True, "max_length": 32}}, "batch.packing"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidConfig, match=named):
        parse(**changes)


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="not valid"):
        parse_config("{")


def test_null_lora_means_full_training() -> None:
    assert parse(lora=None).lora is None


def test_hash_ignores_where_the_run_happens_and_nothing_else() -> None:
    config = parse()
    elsewhere = config.on_this_machine(data_path=Path("/a"), output_dir=Path("/b"))
    assert elsewhere.sha256() == config.sha256()
    assert parse(seed=18).sha256() != config.sha256()


def test_by_hand_the_data_path_is_needed() -> None:
    with pytest.raises(InvalidConfig, match=r"data\.path"):
        _ = parse().data_path
