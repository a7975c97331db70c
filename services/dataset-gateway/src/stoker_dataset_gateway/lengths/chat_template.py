"""A model's tokenizer and chat template from its folder, without transformers: they are three files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from stoker_shared.logging import get_logger

logger = get_logger(__name__)

Turns = list[dict[str, str]]


class TemplateRefused(Exception):
    """The template does not take this conversation."""


@dataclass(frozen=True, slots=True)
class LocalTokenizer:
    """What turns rows into tokens. `template` is None for a model without one."""

    tokenizer: Tokenizer
    template: Template | None
    special: dict[str, str]

    def render(self, turns: Turns) -> str:
        """The conversation as the model reads it.

        Raises:
            TemplateRefused.
        """
        if self.template is None:
            return "\n".join(turn["content"] for turn in turns)
        try:
            return self.template.render(messages=turns, add_generation_prompt=False, tools=None, **self.special)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise TemplateRefused(str(error)) from error

    def lengths(self, texts: list[str], *, is_rendered: bool) -> list[int]:
        """Tokens of each text. A rendered conversation has its special tokens already; a text gets them and an end."""
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=not is_rendered)
        end = 0 if is_rendered or "eos_token" not in self.special else 1
        return [len(one.ids) + end for one in encoded]


def load_tokenizer(folder: Path) -> LocalTokenizer | None:
    """The tokenizer of a model folder, None if it has none that can be read."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = _json(folder / "tokenizer_config.json")
        return LocalTokenizer(tokenizer, _template(folder, config), _special(config))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception of a file that it cannot read
        logger.warning("a tokenizer cannot be read", folder=str(folder), reason=str(error)[:200])
        return None


def _template(folder: Path, config: dict[str, Any]) -> Template | None:
    file = folder / "chat_template.jinja"
    source = file.read_text() if file.is_file() else config.get("chat_template")
    if isinstance(source, list):
        source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
    if not isinstance(source, str):
        return None
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = _refuse
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    return environment.from_string(source)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _special(config: dict[str, Any]) -> dict[str, str]:
    found = {name: value for name, value in config.items() if name.endswith("_token")}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in found.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return values
