"""Reading one row as a JSON object, strictly."""

import json
from typing import Any, NoReturn

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.rules import FaultCode


def decode_row(content: bytes, *, what: str = "line") -> str:
    """The row as text without white space around it.

    Raises:
        RowFaulty: not UTF-8.
    """
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise RowFaulty(FaultCode.NOT_UTF8, position=error.start + 1, what=what, byte=byte) from None


def parse_row(text: str) -> dict[str, Any]:
    """The object that the row is.

    Raises:
        RowFaulty: not JSON, not an object, a key twice, NaN or Infinity, half a character.
    """
    value = parse_value(text)
    if not isinstance(value, dict):
        raise RowFaulty(FaultCode.NOT_AN_OBJECT, found=kind_of(value))
    return value


def parse_value(text: str) -> Any:
    """The JSON value that the text is.

    Raises:
        RowFaulty: as `parse_row`, but any value will do.
    """
    try:
        value = _DECODER.decode(text)
        is_broken = "\\u" in text and _has_half_character(value)
    except json.JSONDecodeError as error:
        raise RowFaulty(FaultCode.INVALID_JSON, position=error.pos + 1, reason=error.msg) from None
    except RecursionError:
        raise RowFaulty(FaultCode.INVALID_JSON, position=1, reason="nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise RowFaulty(FaultCode.INVALID_JSON, position=1, reason=str(error).partition(";")[0]) from None
    if is_broken:
        raise RowFaulty(FaultCode.BROKEN_CHARACTER)
    return value


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    bytes: "bytes",
}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise RowFaulty(FaultCode.DUPLICATE_KEY, key=next(name for name in names if names.count(name) > 1))
    return values


def _constant(literal: str) -> NoReturn:
    raise RowFaulty(FaultCode.NOT_A_NUMBER, literal=literal)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _has_half_character(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
