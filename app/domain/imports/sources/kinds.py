"""The kinds of sources that are fetched in a process of their own; each is a module whose `fetch` gives blocks."""

from collections.abc import Callable, Iterator
from importlib import import_module

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources import masking
from app.domain.imports.sources.limits import Limits
from app.domain.imports.stored import StoredSource
from app.platform.errors import DomainError

Fetch = Callable[[Limits, StoredSource], Iterator[bytes]]
KINDS = ("database", "storage")
"""Each is imported only where it is used, for a process starts for each fetch."""


def fetch(settings: Limits, source: StoredSource) -> Iterator[bytes]:
    """Yield the bytes of a source.

    Raises:
        UnreadableError: it cannot be had. The message holds no secret of it.
        AddressForbiddenError: it is where the service may not go.
    """
    kind = import_module(f"app.domain.imports.sources.{source['type']}")
    try:
        yield from kind.fetch(settings, source)
    except DomainError:
        raise
    except Exception as error:  # noqa: BLE001  (drivers raise whatever they like)
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        said = masking.without(source, said)[:300]
        said = said.rstrip(".") or type(error).__name__
        raise UnreadableError(f"The source cannot be read: {said}.") from None
