"""Values: `json_load`, `bool`, `shuffle`, `random`.

After https://documentation.bloomreach.com/engagement/docs/filters. Chance is seeded by the message, so that a retry
says the same.
"""

import random
from collections.abc import Iterable

import orjson
from jinja2 import TemplateRuntimeError, Undefined, pass_context
from jinja2.runtime import Context

MESSAGE = "message being rendered"
"""The name of the message in a template's context; with its spaces, no template can read it."""
FALSE = frozenset({"", "0", "false", "no", "off", "none", "null", "n", "f"})


def json_load(value: object) -> object:
    """Read a JSON text."""
    if isinstance(value, Undefined):
        return value
    try:
        return orjson.loads(str(value))
    except orjson.JSONDecodeError as error:
        raise TemplateRuntimeError(f"'json_load' got no JSON: {error}.") from None


def to_bool(value: object) -> bool:
    """Return whether a value is true; the texts `false`, `no`, `off`, `0` and the empty one are not."""
    return value.strip().lower() not in FALSE if isinstance(value, str) else bool(value)


@pass_context
def shuffle(context: Context, values: Iterable[object]) -> list[object]:
    """Return the values in an order of chance."""
    shuffled = list(values)
    _chance(context).shuffle(shuffled)
    return shuffled


@pass_context
def pick(context: Context, values: Iterable[object]) -> object:
    """Return one of the values by chance."""
    choices = values if isinstance(values, (str, list, tuple, range)) else list(values)
    return _chance(context).choice(choices) if choices else ""


def _chance(context: Context) -> random.Random:
    chance: random.Random = context[MESSAGE].chance
    return chance


FILTERS = {"json_load": json_load, "bool": to_bool, "shuffle": shuffle, "random": pick}
