"""Links: `urlencode`.

Jinja's own, whose results for short texts are kept: a message says the same of its customer in each of its links.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from jinja2.filters import do_urlencode

SHORT = 256
"""Characters of a text whose result is kept."""


def urlencode(value: str | Mapping[str, object] | Iterable[tuple[str, object]]) -> str:
    """Write a text, or the names and values of a query, so that it can stand in a URL."""
    return _kept(value) if type(value) is str and len(value) <= SHORT else do_urlencode(value)


@lru_cache(maxsize=1024)
def _kept(text: str) -> str:
    return do_urlencode(text)


FILTERS = {"urlencode": urlencode}
