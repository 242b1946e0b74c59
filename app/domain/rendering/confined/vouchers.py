"""`vouchers` and `aggregates` in a template."""

import unicodedata

from jinja2 import StrictUndefined, TemplateRuntimeError, pass_context
from jinja2.runtime import Context

from app.domain.rendering.confined.message import Message
from app.domain.rendering.confined.names.values import MESSAGE

LOOP_LIMIT = "iterations left"
"""A name in a template's context, as MESSAGE is."""

MAX_DEFAULT_LENGTH = 255
MAX_VALID_FOR = 10 * 366 * 24 * 3600


class Named:
    """What is looked up by names, and is neither a text nor a list of what it has."""

    SAID: str
    """What an error says who prints it, counts it or goes through it."""

    def __str__(self) -> str:
        raise TemplateRuntimeError(self.SAID)

    def __len__(self) -> int:
        raise TemplateRuntimeError(self.SAID)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> object:
        raise TemplateRuntimeError(self.SAID)

    def __contains__(self, name: object) -> bool:
        raise TemplateRuntimeError(self.SAID)


class Pool:
    """`vouchers['name']` in a template."""

    KIND = "A pool"
    """What an error calls it."""

    def __init__(self, name: str) -> None:
        self._name = name

    @pass_context
    def assign_available(
        self,
        context: Context,
        cached: object = True,
        fallback: object = (),
        default: object = None,
        valid_for: object = None,
    ) -> str:
        """Return a code of this pool: the same wherever the message asks, or with `cached=False` a new one."""
        if isinstance(cached, int) and cached in {0, 1}:
            cached = bool(cached)
        if isinstance(fallback, str):
            fallback = (fallback,)
        if not isinstance(cached, bool):
            raise TemplateRuntimeError(f"'cached' is true or false, not {_shown(cached)}.")
        if not isinstance(fallback, (list, tuple)) or not all(isinstance(name, str) for name in fallback):
            raise TemplateRuntimeError(f"'fallback' is a list of pool names, not {_shown(fallback)}.")
        if default is not None and not (
            isinstance(default, str) and len(default) <= MAX_DEFAULT_LENGTH and "\0" not in default
        ):
            raise TemplateRuntimeError(
                f"'default' is a text of up to {MAX_DEFAULT_LENGTH} characters, not {_shown(default)}."
            )
        if default is not None:
            default.encode()  # raises where it holds half a surrogate pair
        if valid_for is not None and (
            isinstance(valid_for, bool)
            or not isinstance(valid_for, int)
            or not 1 <= valid_for <= MAX_VALID_FOR
        ):
            raise TemplateRuntimeError(
                f"'valid_for' is a number of seconds, 1 to {MAX_VALID_FOR}, not {_shown(valid_for)}."
            )
        message: Message = context[MESSAGE]
        chain = tuple(dict.fromkeys((self._name, *map(_kept, fallback))))
        return message.assign(chain, default, cached=cached, valid_for=valid_for or 0)

    @pass_context
    def count_available(self, context: Context) -> int:
        """Return how many codes of the pool can be drawn."""
        message: Message = context[MESSAGE]
        return message.count(self._name, "available")

    @pass_context
    def count_total(self, context: Context) -> int:
        """Return how many codes the pool holds in all."""
        message: Message = context[MESSAGE]
        return message.count(self._name, "total")

    def __str__(self) -> str:
        raise TemplateRuntimeError(f"A pool is no text; write vouchers[{self._name!r}].assign_available().")


class Vouchers(Named):
    """`vouchers` in a template."""

    SAID = "'vouchers' is no list of pools; write vouchers['pool'].assign_available() or .count_available()."

    def __getitem__(self, name: object) -> Pool:
        if not isinstance(name, str):
            raise TemplateRuntimeError(f"A pool is named by a text, not by {_shown(name)}.")
        return Pool(_kept(name))


class Aggregates(Named):
    """`aggregates` in a template."""

    SAID = "'aggregates' is no list; write aggregates['name']."

    def __init__(self, message: Message) -> None:
        self._message = message

    def __getitem__(self, name: object) -> object:
        if not isinstance(name, str):
            raise TemplateRuntimeError(f"An aggregate is named by a text, not by {_shown(name)}.")
        value = self._message.aggregate(_sayable(name))
        if value is not None:
            return value
        if self._message.strict:
            return StrictUndefined(f"The customer has no value of aggregate {name!r}.")
        return self._message.missing(self, name)


def _kept(name: str) -> str:
    """Return the name of a pool as it is kept, in Unicode's composed form."""
    name = _sayable(name)
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _sayable(text: str) -> str:
    """Return a text that the database can be told.

    Raises:
        UnicodeEncodeError: it holds half a surrogate pair.
        TemplateRuntimeError: it holds a NUL.
    """
    text.encode()
    if "\0" in text:
        raise TemplateRuntimeError("A name holds a NUL.")
    return text


def _shown(value: object) -> str:
    """Return a value as an error shows it: its type, and its text where that is short."""
    if isinstance(value, (str, int, float)) and len(text := repr(value)[:60]) < 60:  # noqa: PLR2004
        return text
    return f"a {type(value).__name__}"
