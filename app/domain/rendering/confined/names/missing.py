"""What is not there: properties that nobody set, and names that do not exist."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from jinja2 import StrictUndefined, Undefined
from jinja2.utils import missing

UNSUPPORTED = {
    "catalogs": "catalogs", "catalog": "catalogs", "segmentations": "segmentations", "consents": "consents",
    "recommendations": "recommendations", "recommendation": "recommendations", "predictions": "predictions",
    "expressions": "expressions", "reports": "reports", "html_blocks": "HTML blocks",
}  # fmt: skip
KNOWN = [
    "customer", "customer_ids", "event", "context", "aggregates", "campaign", "project", "scenario", "action",
    "banner", "experiment", "vouchers", "time", "now", "range", "dict", "namespace", "cycler", "joiner", "qr",
    "datetime",
]  # fmt: skip


class UnknownName(StrictUndefined):
    """A name that the template does not know: any use is an error, which tells the nearest."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint or self._undefined_obj is not missing:
            return super()._undefined_message
        name = str(self._undefined_name)
        if name in UNSUPPORTED:
            return f"{name!r} is not supported: this service has no {UNSUPPORTED[name]}."
        return f"{name!r} is undefined.{nearest(name, KNOWN)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the names nearest to a wrong one."""
    found = difflib.get_close_matches(name, list(known))
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
