"""A recipe from a file and from the options of the command line; the options win."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stoker_shared.errors import RequestInvalid
from stoker_shared.recipe import Recipe

OPTION_PATHS: dict[str, tuple[str, ...]] = {
    "model": ("model", "name_or_path"),
    "held_out": ("held_out", "fraction"),
    "held_out_rows": ("held_out", "max_rows"),
    "lora_rank": ("lora", "rank"),
    "learning_rate": ("optimiser", "learning_rate"),
    "batch": ("batch", "per_device"),
    "max_length": ("batch", "max_length"),
    "epochs": ("length", "epochs"),
    "max_steps": ("length", "max_steps"),
    "checkpoint_every": ("checkpoint_every_steps",),
    "seed": ("seed",),
    "sample_prompt": ("sample_prompts",),
}
"""Where in a recipe each option goes."""


def build_recipe(options: Mapping[str, Any], *, file: Path | None = None, is_full: bool = False) -> Recipe:
    """The recipe that file and options describe; options that are None or empty say nothing.

    Raises:
        RequestInvalid: names each field that is not as it should be.
    """
    content = read_recipe_file(file) if file else {}
    for name, value in options.items():
        if value is not None and value != []:
            _put(content, OPTION_PATHS[name], value)
    if is_full:
        content["lora"] = None
    return _checked(content, file)


def read_recipe_file(file: Path) -> dict[str, Any]:
    """The object in a YAML or JSON file.

    Raises:
        RequestInvalid: it cannot be read, or is no object.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise RequestInvalid(f"{file}: {error.strerror}.", next_step="Check the path of the recipe.") from error
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RequestInvalid(f"{file} cannot be read: {reason}", next_step="Mend the file.") from error
    if not isinstance(content, dict):
        raise RequestInvalid(f"{file} does not hold an object.", next_step="Begin with `model: {name_or_path: ...}`.")
    return content


def _put(content: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *sections, name = path
    for section in sections:
        inner = content.get(section)
        # `lora: null` in the file, and a rank as an option: the option wins.
        content[section] = dict(inner) if isinstance(inner, dict) else {}
        content = content[section]
    content[name] = value


def _checked(content: dict[str, Any], file: Path | None) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        faults = {".".join(map(str, fault["loc"])) or "recipe": fault["msg"] for fault in error.errors()}
        if "model" in faults and "model" not in content:
            faults["model"] = "no base model: give --model, or model.name_or_path in the recipe"
        raise RequestInvalid(
            f"The recipe{f' in {file}' if file else ''} is not valid: {', '.join(faults)}.",
            next_step="Mend these fields.",
            fields=faults,
        ) from error
