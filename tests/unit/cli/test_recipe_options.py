"""Recipes from options and files."""

import json
from inspect import signature
from pathlib import Path

import pytest

from stoker.commands.planning import PLAN_FIELDS, plan
from stoker.recipe_options import OPTION_PATHS, build_recipe
from stoker_shared.errors import RequestInvalid
from stoker_shared.recipe import Recipe

VALUES = {
    "model": "some/model",
    "held_out": 0.2,
    "held_out_rows": 9,
    "lora_rank": 8,
    "learning_rate": 0.001,
    "batch": 2,
    "max_length": 99,
    "epochs": 2.5,
    "max_steps": 7,
    "checkpoint_every": 3,
    "seed": 4,
    "sample_prompt": ["Hello?"],
}


def test_every_option_reaches_its_field() -> None:
    assert VALUES.keys() == OPTION_PATHS.keys()
    content = build_recipe(VALUES).model_dump()
    for name, path in OPTION_PATHS.items():
        found = content
        for part in path:
            found = found[part]
        assert found == VALUES[name], name


def test_every_option_of_plan_goes_somewhere() -> None:
    elsewhere = {"context", "dataset", "recipe", "full", "env", "secret", "as_json"}
    placed = [*OPTION_PATHS, *PLAN_FIELDS, *elsewhere]
    assert sorted(placed) == sorted(signature(plan).parameters)


def test_options_that_say_nothing_leave_the_defaults() -> None:
    options = dict.fromkeys(OPTION_PATHS) | {"model": "m", "sample_prompt": []}
    assert build_recipe(options) == Recipe.model_validate({"model": {"name_or_path": "m"}})


def test_options_win_over_the_file_and_leave_the_rest_of_it(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("model: {name_or_path: m}\noptimiser: {learning_rate: 1e-4, weight_decay: 0.1}\n")
    recipe = build_recipe({"learning_rate": 0.5}, file=file)
    assert recipe.optimiser.learning_rate == 0.5
    assert recipe.optimiser.weight_decay == 0.1


def test_a_number_that_yaml_takes_for_text_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("model: {name_or_path: m}\noptimiser: {learning_rate: 1e-4}\n")
    assert build_recipe({}, file=file).optimiser.learning_rate == 1e-4


def test_full_training_has_no_adapter() -> None:
    assert build_recipe({"model": "m"}, is_full=True).lora is None


def test_a_rank_brings_the_adapter_back(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"model": {"name_or_path": "m"}, "lora": None}))
    recipe = build_recipe({"lora_rank": 4}, file=file)
    assert recipe.lora is not None
    assert recipe.lora.rank == 4


def test_a_recipe_without_a_model_says_how_to_give_one() -> None:
    with pytest.raises(RequestInvalid) as caught:
        build_recipe({"batch": 0})
    assert set(caught.value.fields) == {"model", "batch.per_device"}
    assert "--model" in caught.value.fields["model"]


def test_an_unknown_field_is_named_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("model: {name_or_path: m}\nbatch: {per_devise: 4}\n")
    with pytest.raises(RequestInvalid) as caught:
        build_recipe({}, file=file)
    assert list(caught.value.fields) == ["batch.per_devise"]


@pytest.mark.parametrize(("name", "text"), [("r.yaml", "a: [1"), ("r.json", "{"), ("r.yaml", "- 1"), ("r.yaml", "")])
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(RequestInvalid, match=name):
        build_recipe({}, file=file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match=r"missing\.yaml: No such file"):
        build_recipe({}, file=tmp_path / "missing.yaml")
