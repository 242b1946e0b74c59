"""What is not there: properties that nobody set, and names that do not exist."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Self

from jinja2 import StrictUndefined, Undefined
from jinja2.utils import missing

UNSUPPORTED = {
    "catalogs": "catalogs", "catalog": "catalogs", "segmentations": "segmentations", "consents": "consents",
    "recommendations": "recommendations", "recommendation": "recommendations", "predictions": "predictions",
    "expressions": "expressions", "reports": "reports", "report_value_by_key": "reports", "metrics": "metrics",
    "html_blocks": "HTML blocks", "consent": "consent pages",
}  # fmt: skip
KNOWN = [
    "customer", "customer_ids", "event", "context", "aggregates", "campaign", "project", "scenario", "action",
    "banner", "experiment", "tag", "webhook", "params", "vouchers", "time", "now", "range", "dict", "namespace",
    "cycler", "joiner", "qr", "datetime",
]  # fmt: skip
MAX_NAME, MAX_COMPARED = 100, 200
"""Longer names, and more of them, are not compared: it takes time."""


class UnknownName(StrictUndefined):
    """A name that the template does not know: any use is an error, which tells the nearest."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name, owner = str(self._undefined_name), self._undefined_obj
        if self._undefined_hint:
            return super()._undefined_message
        if owner is not missing:
            kind = getattr(type(owner), "KIND", None)
            said = f"{kind} has no {name!r}" if kind else super()._undefined_message
            return f"{said.removesuffix('.')}.{nearest(name, _names_of(owner))}"
        if name in UNSUPPORTED:
            return f"{name!r} is not supported: this service has no {UNSUPPORTED[name]}."
        return f"{name!r} is undefined.{nearest(name, KNOWN)}"


def _names_of(owner: object) -> Iterator[str]:
    """Return what can be asked of something: the names in a mapping, otherwise its attributes."""
    names = owner if isinstance(owner, dict) else dir(type(owner))
    return (name for name in names if isinstance(name, str) and not name.startswith("_"))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the names nearest to a wrong one."""
    short = (each for each in known if len(each) <= MAX_NAME)
    found = difflib.get_close_matches(name[:MAX_NAME], list(islice(short, MAX_COMPARED)))
    return f" Nearest: {', '.join(found)}." if found else ""


class MissingProperty(Undefined):
    """A property that is not set: empty, false, and so is all that is asked of it."""

    __slots__ = ("note", "path")

    def __init__(self, path: str, note: Callable[[str, str], None]) -> None:
        super().__init__(f"{path} is not set", name=path)
        self.path = path
        self.note = note

    def child(self, name: object) -> "MissingProperty":
        """Return what is below it, which is not set either."""
        path = f"{self.path}.{name}"
        self.note(path, self.path)
        return MissingProperty(path, self.note)

    def __call__(self, *_: object, **__: object) -> Self:  # type: ignore[override]  # noqa: D102  (of Undefined)
        return self

    def __add__(self, other: object) -> object:  # type: ignore[override]  # as above
        return other

    __radd__ = __add__  # type: ignore[assignment]  # as above

    def __lt__(self, _: object) -> bool:  # type: ignore[override]  # as above
        return False

    __le__ = __gt__ = __ge__ = __lt__  # type: ignore[assignment]  # as above

    def __int__(self) -> int:  # type: ignore[override]  # as above
        return 0

    def __float__(self) -> float:  # type: ignore[override]  # as above
        return 0.0

    def __iter__(self) -> Iterator[object]:
        return iter(())
