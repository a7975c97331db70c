"""Recipes refuse what they do not know, and become the trainer's configuration."""

from typing import Any

import pytest
from pydantic import ValidationError

from stoker_shared.recipe import METHOD_FORMATS, DataFormat, Method, Recipe, training_config

SMALLEST = {"model": {"name_or_path": "some/model"}}


def test_a_model_is_all_that_a_recipe_needs() -> None:
    recipe = Recipe.model_validate(SMALLEST)
    assert (recipe.method, recipe.lora is not None, recipe.batch.max_length) == (Method.SFT, True, 512)


def test_full_training_is_a_recipe_without_an_adapter() -> None:
    assert Recipe.model_validate({**SMALLEST, "lora": None}).lora is None


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"learning_rate": 1e-4}, "learning_rate"),
        ({"optimiser": {"lr": 1e-4}}, "optimiser.lr"),
        ({"lora": {"r": 8}}, "lora.r"),
        ({"batch": {"size": 8}}, "batch.size"),
        ({"length": {"steps": 8}}, "length.steps"),
        ({"held_out": {"share": 0.5}}, "held_out.share"),
        ({"model": {"name_or_path": "m", "token": "x"}}, "model.token"),
    ],
)
def test_an_unknown_key_is_refused_by_its_path(section: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({**SMALLEST, **section})
    assert [".".join(map(str, fault["loc"])) for fault in caught.value.errors()] == [path]


@pytest.mark.parametrize(
    "section",
    [
        {"optimiser": {"learning_rate": 0}},
        {"optimiser": {"learning_rate": 2}},
        {"batch": {"per_device": 0}},
        {"length": {"epochs": 0}},
        {"held_out": {"fraction": 1}},
        {"model": {"name_or_path": "   "}},
        {"batch": {"packing": True, "max_length": 32}},
        {"method": "dpo"},
        {"schema_version": 2},
        {"sample_prompts": [""]},
    ],
)
def test_absurd_values_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({**SMALLEST, **section})


def test_a_recipe_does_not_change() -> None:
    recipe = Recipe.model_validate(SMALLEST)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("method", Method)
def test_every_method_knows_which_data_it_learns_from(method: Method) -> None:
    assert METHOD_FORMATS[method]


@pytest.mark.parametrize("data_format", DataFormat)
def test_a_configuration_is_the_recipe_and_the_form_of_the_data(data_format: DataFormat) -> None:
    recipe = Recipe.model_validate(SMALLEST)
    config = training_config(recipe, data_format=data_format)
    assert config.pop("data") == {"path": None, "format": data_format.value, "conversion": None}
    assert config.pop("output_dir") is None
    assert Recipe.model_validate(config) == recipe
