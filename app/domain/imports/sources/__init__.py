"""Where an import's bytes come from: each source is a module, whose `fetch` gives them in blocks."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources import analysis, database, storage, url
from app.domain.imports.sources import secrets as sealing
from app.platform.errors import DomainError
from app.platform.settings import Settings

Fetch = Callable[[Settings, dict[str, Any]], Iterator[bytes]]

FETCHES: dict[str, Fetch] = {
    "url": url.fetch,
    "database": database.fetch,
    "storage": storage.fetch,
    "analysis": analysis.fetch,
}
MAY_BE_EMPTY = {"database", "analysis"}
"""Sources that rightly have no rows at times."""

unseal = sealing.unseal


def fetch(settings: Settings, source: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of a source, within the limits of size and time.

    Raises:
        UnreadableError: it cannot be had, or not within the limits. The message holds no secret of it.
        AddressForbiddenError: it is where the service may not go.
    """
    blocks = FETCHES[source["type"]](settings, source)
    try:
        yield from _limited(settings, blocks)
    except DomainError:
        raise
    except Exception as error:  # noqa: BLE001  (drivers raise whatever they like)
        # The first line tells, once the secrets are out of it.
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:300]
        for secret in sealing.secrets_of(source):
            said = said.replace(secret, sealing.HIDDEN)
        raise UnreadableError(f"The source cannot be read: {said or type(error).__name__}.") from None


def _limited(settings: Settings, blocks: Iterator[bytes]) -> Iterator[bytes]:
    deadline = time.monotonic() + settings.fetch_seconds
    size = 0
    for block in blocks:
        size += len(block)
        if size > settings.max_upload_bytes:
            raise UnreadableError(f"The source is larger than {settings.max_upload_bytes} bytes.")
        if time.monotonic() > deadline:
            raise UnreadableError(f"The source did not end within {settings.fetch_seconds:g} seconds.")
        yield block
