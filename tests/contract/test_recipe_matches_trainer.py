"""The recipe of the control plane and the configuration of the trainer, which know nothing of each other, agree."""

import json
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from stoker_shared.recipe import DataFormat, Method, Recipe, training_config
from stoker_trainer.config import DataConfig, TrainingConfig, parse_config
from tests.support.generated_messages import filled

# What the machine knows and a recipe does not.
OF_THE_MACHINE = {"data", "output_dir"}


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(filled(Recipe), st.sampled_from(DataFormat))
def test_the_trainer_reads_every_recipe_as_it_was_meant(recipe: Recipe, data_format: DataFormat) -> None:
    sent = training_config(recipe, data_format=data_format)
    read = parse_config(json.dumps(sent))
    assert read.model_dump(mode="json") == sent


def test_both_have_the_same_fields_defaults_and_limits() -> None:
    ours = {name: facts for name, facts in described(Recipe).items() if name.split(".")[0] not in OF_THE_MACHINE}
    theirs = {
        name: facts for name, facts in described(TrainingConfig).items() if name.split(".")[0] not in OF_THE_MACHINE
    }
    assert ours == theirs


def test_both_know_the_same_methods_and_forms_of_data() -> None:
    assert [method.value for method in Method] == list(get_args(TrainingConfig.model_fields["method"].annotation))
    assert [form.value for form in DataFormat] == list(get_args(DataConfig.model_fields["format"].annotation))


@pytest.mark.parametrize(
    "wrong",
    [
        {"unheard_of": 1},
        {"batch": {"packing": True, "max_length": 32}},
        {"optimiser": {"learning_rate": 0}},
        {"model": {"name_or_path": "m", "unheard_of": 1}},
    ],
)
def test_both_refuse_the_same(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"model": {"name_or_path": "m"}, **wrong})
    with pytest.raises(ValidationError):
        TrainingConfig.model_validate({"model": {"name_or_path": "m"}, "data": {"format": "text"}, **wrong})


def described(model: type[BaseModel], prefix: str = "") -> dict[str, tuple[str, str]]:
    """Each field by its path, with its default and its limits as JSON Schema shows them."""
    facts: dict[str, tuple[str, str]] = {}
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        section = section_of(field.annotation)
        if section is None:
            default = field.get_default(call_default_factory=True)
            plain = "required" if default is PydanticUndefined else str(default)
            facts[path] = (plain, str(sorted(map(str, field.metadata))))
        else:
            is_optional = type(None) in get_args(field.annotation)
            facts[path] = (f"section, optional {is_optional}, required {field.is_required()}", "")
            facts |= described(section, f"{path}.")
    return facts


def section_of(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *get_args(annotation)]
    return next((item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)), None)
