"""The recipe of the control plane and the configuration of the trainer, which know nothing of each other, agree."""

import json
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from stoker_dataset_gateway.checking.formats import CONVERTED
from stoker_shared.recipe import METHOD_FORMATS, Conversion, DataFormat, Method, Recipe, training_config
from stoker_trainer.config import CONVERSION_FORMATS, ConversionName, DataConfig, TrainingConfig, parse_config
from stoker_trainer.config import METHOD_FORMATS as FORMATS_OF_TRAINER
from stoker_trainer.errors import InvalidConfig
from tests.support.generated_messages import filled

# What the machine knows and a recipe does not.
OF_THE_MACHINE = {"data", "output_dir"}


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(filled(Recipe), st.data())
def test_the_trainer_reads_every_recipe_as_it_was_meant(recipe: Recipe, data: st.DataObject) -> None:
    conversion = data.draw(st.none() | st.sampled_from(Conversion))
    formats = [CONVERTED[conversion][0]] if conversion else sorted(METHOD_FORMATS[recipe.method])
    sent = training_config(recipe, data_format=data.draw(st.sampled_from(formats)), conversion=conversion)
    read = parse_config(json.dumps(sent))
    assert read.model_dump(mode="json") == sent


@pytest.mark.parametrize("data_format", DataFormat)
def test_the_trainer_refuses_rows_that_its_method_cannot_learn_from(data_format: DataFormat) -> None:
    sent = json.dumps(training_config(Recipe.model_validate({"model": {"name_or_path": "m"}}), data_format=data_format))
    if data_format in METHOD_FORMATS[Method.SFT]:
        assert parse_config(sent).data.format == data_format.value
        return
    with pytest.raises(InvalidConfig, match=f"method sft cannot learn from {data_format.value} rows, only from"):
        parse_config(sent)


def test_both_have_the_same_fields_defaults_and_limits() -> None:
    ours = {name: facts for name, facts in described(Recipe).items() if name.split(".")[0] not in OF_THE_MACHINE}
    theirs = {
        name: facts for name, facts in described(TrainingConfig).items() if name.split(".")[0] not in OF_THE_MACHINE
    }
    assert ours == theirs


def test_both_know_the_same_methods_and_forms_of_data() -> None:
    assert [method.value for method in Method] == list(get_args(TrainingConfig.model_fields["method"].annotation))
    assert [form.value for form in DataFormat] == list(get_args(DataConfig.model_fields["format"].annotation))
    assert {method.value: sorted(formats) for method, formats in METHOD_FORMATS.items()} == {
        method: sorted(formats) for method, formats in FORMATS_OF_TRAINER.items()
    }


def test_both_know_the_same_conversions() -> None:
    assert [conversion.value for conversion in Conversion] == list(get_args(ConversionName))
    made = {conversion.value: data_format.value for conversion, (data_format, _) in CONVERTED.items()}
    assert made == CONVERSION_FORMATS


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
