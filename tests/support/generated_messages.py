"""Hypothesis strategies that fill any message of the bus, read from its fields and their limits."""

import types
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from stoker_shared.recipe import Batch

# What JSON and PostgreSQL's jsonb both carry.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
# Offsets in whole minutes, which is all that a date in JSON can say.
MOMENTS = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - Hypothesis puts the zone on
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
# NaN and infinity are not JSON: pydantic writes null, so they come back as None where a field allows it.
LIMITLESS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    UUID: st.uuids(),
    datetime: MOMENTS,
    AwareDatetime: MOMENTS,
    type(None): st.none(),
    Any: st.text(CHARACTERS, max_size=20),
}
# Rules over several fields, which no limit of one field tells.
NARROWED: dict[tuple[type[BaseModel], str], st.SearchStrategy[Any]] = {
    (Batch, "max_length"): st.integers(min_value=64, max_value=1_048_576),
}


@cache
def filled(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Instances of `model`; fields with a default are sometimes left out."""
    fields = {
        name: NARROWED[model, name] if (model, name) in NARROWED else _values(field.annotation, _limits(field.metadata))
        for name, field in model.model_fields.items()
    }
    required = {name: strategy for name, strategy in fields.items() if model.model_fields[name].is_required()}
    optional = {name: strategy for name, strategy in fields.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional).map(model.model_validate)


def _values(annotation: Any, limits: dict[str, Any]) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0], limits | _limits(list(arguments[1:])))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in {Union, types.UnionType}:
        return st.one_of([_values(argument, limits) for argument in arguments])
    if origin is list:
        sizes = {"min_size": limits.get("min_length", 0), "max_size": min(limits.get("max_length", 3), 3)}
        return st.lists(_values(arguments[0], {}), **sizes)
    if origin in {tuple, dict}:
        parts = [_values(argument, {}) for argument in arguments]
        return st.tuples(*parts) if origin is tuple else st.dictionaries(*parts, max_size=3)
    return _plain(annotation, limits)


def _plain(kind: Any, limits: dict[str, Any]) -> st.SearchStrategy[Any]:
    if kind in LIMITLESS:
        return LIMITLESS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return filled(kind)
    if kind is int:
        return st.integers(min_value=limits.get("ge", -(2**63)), max_value=limits.get("le", 2**63 - 1))
    if kind is float:
        return _floats(limits)
    if kind is str:
        return _texts(limits)
    raise TypeError(f"no strategy for {kind!r}")


def _floats(limits: dict[str, Any]) -> st.SearchStrategy[float]:
    return st.floats(
        min_value=limits.get("ge", limits.get("gt")),
        max_value=limits.get("le", limits.get("lt")),
        exclude_min="gt" in limits,
        exclude_max="lt" in limits,
        allow_nan=False,
        allow_infinity=False,
    )


def _texts(limits: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in limits:
        return st.from_regex(limits["pattern"].removesuffix("$") + r"\Z", fullmatch=True)
    texts = st.text(CHARACTERS, min_size=limits.get("min_length", 0), max_size=min(limits.get("max_length", 20), 20))
    return texts.map(str.strip).filter(bool) if limits.get("strip_whitespace") else texts


def _limits(metadata: list[Any]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, FieldInfo):
            limits |= _limits(item.metadata)
        elif isinstance(item, Ge | Gt | Le | Lt | MinLen | MaxLen):
            limits |= (
                vars(item) if hasattr(item, "__dict__") else {name: getattr(item, name) for name in item.__slots__}
            )
        else:  # pydantic's own: a pattern, stripping
            limits |= {name: value for name, value in vars(item).items() if value is not None}
    return limits
