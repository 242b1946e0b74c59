"""Fields of a body that are not known: an error tells the nearest name, or those that there are."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

UNKNOWN = "extra_forbidden"
"""What Pydantic calls them."""


def named(errors: Sequence[ErrorDetails], kinds: Iterable[object], prefix: int = 0) -> list[ErrorDetails]:
    """Return the errors with words for those about a field that is not known.

    Args:
        errors: as Pydantic has them.
        kinds: types, of one of which the value was to be.
        prefix: how many steps of each place lead to the value.
    """
    kinds = list(kinds)
    return [
        {**error, "msg": _said(kinds, error["loc"][prefix:])} if error["type"] == UNKNOWN else error
        for error in errors
    ]


def _said(kinds: Iterable[object], place: Sequence[int | str]) -> str:
    *way, name = place
    models = [model for kind in kinds for model in _models(kind)]
    for step in way:
        models = list(_next(models, step))
    known = sorted({field.alias or name for model in models for name, field in model.model_fields.items()})
    if near := difflib.get_close_matches(str(name)[:100], known, 1, 0.5):
        return f"there is no such field; did you mean {near[0]!r}?"
    return f"there is no such field; there are {', '.join(known)}" if known else "there is no such field"


def _models(kind: object) -> Iterator[type[BaseModel]]:
    """Yield the models that a type is, or may be, or holds."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    elif get_origin(kind) is not Literal:
        arguments = get_args(kind)[-1:] if get_origin(kind) in {dict, Mapping} else get_args(kind)
        for argument in arguments:
            yield from _models(argument)


def _next(models: Iterable[type[BaseModel]], step: int | str) -> Iterator[type[BaseModel]]:
    """Yield the models one step further in: a place in a list, one of several kinds, or a field."""
    for model in models:
        if isinstance(step, int) or _is_tag(model, step):
            yield model
        else:
            for name, field in model.model_fields.items():
                if step in {name, field.alias}:
                    yield from _models(field.annotation)


def _is_tag(model: type[BaseModel], step: str) -> bool:
    """Return whether a step names this kind among several, by its class or by what one field of it must say."""
    if step == model.__name__:
        return True
    literals: Iterator[tuple[object, ...]] = (
        get_args(field.annotation)
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
    )
    return any(values == (step,) for values in literals)
