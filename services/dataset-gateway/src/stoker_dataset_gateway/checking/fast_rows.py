"""The short way for rows that are right: one typed decoding and a few cheap looks.

`measure` never explains. Whatever it does not understand at once goes the long way (`row_rules`), which decides; so
this way may be too strict, but never says yes where the other says no (a property test compares them).
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from stoker_dataset_gateway.checking.formats import LOST_BY_CONVERSION, SHAREGPT_ROLES, Layout
from stoker_dataset_gateway.checking.ledger import prompt_hash_of
from stoker_dataset_gateway.checking.rules import ROLES
from stoker_dataset_gateway.checking.turn_order import last_answer, order_faults
from stoker_shared.recipe import Conversion, DataFormat


class Measured(msgspec.Struct, gc=False):
    """A row that is right, if also its structure has `quotes` quotes and no more (`without_twice`)."""

    characters: int
    prompt: int
    label: bool | None
    quotes: int


Measure = Callable[[bytes], Measured | None]

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_KNOWN_ORDERS = 10_000
_DEEPEST = 20
_LARGEST = 2**63
_PIECE_BYTES = 2**17
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_ESCAPED_IN_JSON = re.compile(r'["\\\x00-\x1f]')


class Signature(NamedTuple):
    """What rows of one kind have in common: the layout, further columns, further keys of turns."""

    layout: Layout
    columns: frozenset[str]
    turn_keys: frozenset[str]


def signature_of(values: dict[str, Any], layout: Layout) -> Signature | None:
    """The signature of a good row, None if rows like this one have no short way."""
    columns = frozenset(values) - frozenset(layout.columns)
    if not _can_be_fields(columns):
        return None
    if layout.conversion is not None and not columns.isdisjoint(LOST_BY_CONVERSION):
        return None
    if layout.data_format is DataFormat.MESSAGES:
        keys, *others = {frozenset(turn) for turn in values[layout.columns[0]]}
        is_plain = not others and "tool_calls" not in keys and _can_be_fields(keys)
        return Signature(layout, columns, keys - set(_turn_names(layout))) if is_plain else None
    if all(isinstance(values[column], str | bool) for column in layout.columns):
        return Signature(layout, columns, frozenset())
    return None


def _can_be_fields(names: Iterable[str]) -> bool:
    """msgspec compares names as they stand in JSON and so takes none that is written with an escape."""
    return not any(_ESCAPED_IN_JSON.search(name) for name in names)


def measure_for(signature: Signature) -> Measure | None:
    """How to measure rows of this signature."""
    if signature.layout.data_format is DataFormat.MESSAGES:
        return _measure_messages(signature)
    if signature.layout.data_format is DataFormat.PREFERENCE and "prompt" not in signature.layout.columns:
        return None
    return _measure_texts(signature)


def without_twice(rows: Sequence[bytes], measured: list[Measured | None]) -> list[Measured | None]:
    """Those of the measured rows in which no key stands twice in an object; None for the others.

    The decoder takes the last of two keys without a word, but then there are more quotes than what was decoded accounts
    for. Good only for rows without `\\u0022`, the one way to write a quote without a quote.
    """
    found = [(raw, one) for raw, one in zip(rows, measured, strict=True) if one]
    whole = b"\n".join(rows if len(found) == len(rows) else [raw for raw, _ in found])
    if _quotes_in(whole) == sum([one.quotes for _, one in found]):
        return measured
    return [one if one and _quotes_in(raw) == one.quotes else None for raw, one in zip(rows, measured, strict=True)]


def _quotes_in(raw: bytes) -> int:
    """Quotes of the structure, without those in texts, which are escaped."""
    characters, total = np.frombuffer(raw, dtype=np.uint8), 0
    # In pieces that stay in the processor's cache, each from the last character of the one before.
    for start in range(0, len(characters), _PIECE_BYTES):
        piece = characters[max(start - 1, 0) : start + _PIECE_BYTES]
        quotes, backslashes = piece == _QUOTE, piece == _BACKSLASH
        if np.any(backslashes[1:] & backslashes[:-1]):
            # An escaped backslash escapes nothing, whatever stands behind it.
            return _quotes_in(raw.replace(b"\\\\", b""))
        escaped = np.count_nonzero(quotes[1:] & backslashes[:-1])
        total += int(np.count_nonzero(quotes)) - int(escaped) - (int(quotes[0]) if start else 0)
    return total


def _turn_names(layout: Layout) -> tuple[str, str]:
    return ("from", "value") if layout.conversion is Conversion.SHAREGPT else ("role", "content")


def _measure_messages(signature: Signature) -> Measure:
    names = _turn_names(signature.layout)
    is_sharegpt = signature.layout.conversion is Conversion.SHAREGPT
    role_names: dict[str, str] = SHAREGPT_ROLES if is_sharegpt else {role: role for role in ROLES}
    # Of roles that the decoder knows beforehand no new texts are made.
    known_role: Any = Literal[tuple(role_names)]
    turn = _struct("Turn", dict(zip(names, (known_role, str), strict=True)), signature.turn_keys)
    row = _struct("Row", {signature.layout.columns[0]: list[turn]}, signature.columns)  # type: ignore[valid-type]
    decode = msgspec.json.Decoder(row).decode
    key_quotes = 2 * (1 + len(signature.columns))
    turn_quotes = 2 * (4 + len(signature.turn_keys))
    turn_extras, row_extras = _extras(signature.turn_keys, 2), _extras(signature.columns, 1)
    orders: dict[tuple[str, ...], int | None] = {}

    def measure(raw: bytes) -> Measured | None:
        try:
            values = decode(raw)
        except _UNREADABLE:
            return None
        turns = values.f0
        roles = tuple([turn.f0 for turn in turns])
        answer = orders[roles] if roles in orders else _learn_order(roles, role_names, orders)
        if answer is None:
            return None
        contents = [turn.f1 for turn in turns]
        characters = 0
        for content in contents:
            if not content or content.isspace():
                return None
            characters += len(content)
        quotes = key_quotes + turn_quotes * len(turns)
        if turn_extras or row_extras:
            extra = _quotes_of_extras(values, row_extras)
            extras = [extra, *(_quotes_of_extras(turn, turn_extras) for turn in turns)] if turn_extras else [extra]
            if None in extras:
                return None
            quotes += sum(extras)  # type: ignore[arg-type]
        return Measured(characters, prompt_hash_of(contents[:answer]), None, quotes)

    return measure


def _measure_texts(signature: Signature) -> Measure:
    layout = signature.layout
    has_label = layout.data_format is DataFormat.UNPAIRED_PREFERENCE
    kinds: dict[str, Any] = {column: bool if column == "label" else str for column in layout.columns}
    decode = msgspec.json.Decoder(_struct("Row", kinds, signature.columns)).decode
    texts = tuple(f"f{number}" for number, column in enumerate(layout.columns) if column != "label")
    optional = layout.columns.index("input") if layout.conversion is Conversion.ALPACA and len(texts) == 3 else None
    key_quotes = 2 * (len(kinds) + len(signature.columns)) + 2 * len(texts)
    extras = _extras(signature.columns, len(kinds))
    prompts = _prompt_columns(layout)
    must_differ = layout.data_format is DataFormat.PREFERENCE

    def measure(raw: bytes) -> Measured | None:
        try:
            values = decode(raw)
        except _UNREADABLE:
            return None
        contents = [getattr(values, name) for name in texts]
        for number, content in enumerate(contents):
            if (not content or content.isspace()) and (number != optional or content):
                return None
        if must_differ and contents[1] == contents[2]:
            return None
        extra = _quotes_of_extras(values, extras)
        if extra is None:
            return None
        prompt = prompt_hash_of([content for content in contents[:prompts] if content])
        label = values.f2 if has_label else None
        return Measured(sum(map(len, contents)), prompt, label, key_quotes + extra)

    return measure


def _prompt_columns(layout: Layout) -> int:
    """How many of the columns, from the first on, ask."""
    if layout.data_format is DataFormat.TEXT:
        return 0
    return len(layout.columns) - 1 if layout.conversion is Conversion.ALPACA else 1


def _struct(name: str, fields: dict[str, Any], extras: frozenset[str]) -> Any:
    """A struct with fields f0, f1, ...: first those that are typed, then the further ones, sorted."""
    kinds = {**fields, **dict.fromkeys(sorted(extras), Any)}
    numbered = [(f"f{number}", kind) for number, kind in enumerate(kinds.values())]
    rename = {f"f{number}": key for number, key in enumerate(kinds)}
    return msgspec.defstruct(name, numbered, rename=rename, forbid_unknown_fields=True, gc=False)


def _extras(names: frozenset[str], first: int) -> tuple[str, ...]:
    return tuple(f"f{number}" for number in range(first, first + len(names)))


def _learn_order(
    roles: tuple[str, ...], names: dict[str, str], orders: dict[tuple[str, ...], int | None]
) -> int | None:
    known = [names[role] for role in roles if role in names]
    is_clean = len(known) == len(roles) and "assistant" in known and not any(order_faults(known, column=""))
    answer = last_answer(known) if is_clean else None
    if len(orders) < _KNOWN_ORDERS:
        orders[roles] = answer
    return answer


def _quotes_of_extras(values: Any, names: tuple[str, ...]) -> int | None:
    """Quotes that the further fields take, None if only the long way can tell whether they are read right."""
    return _sum_of([_quotes_of(getattr(values, name), 0) for name in names])


def _quotes_of(value: object, depth: int) -> int | None:
    if isinstance(value, str):
        return 2
    if value is None or (isinstance(value, int) and -_LARGEST < value < _LARGEST):
        return 0
    if isinstance(value, float) and math.isfinite(value):
        return 0
    if not isinstance(value, list | dict) or depth >= _DEEPEST:
        return None
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    return _sum_of([_quotes_of(part, depth + 1) for part in parts])


def _sum_of(parts: list[int | None]) -> int | None:
    return None if None in parts else sum(parts)  # type: ignore[arg-type]
