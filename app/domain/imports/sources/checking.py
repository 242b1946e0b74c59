"""What can be told of a source before it is fetched: whatever can never work is refused when it is given."""

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources import secrets
from app.domain.imports.sources.urls import SourceUrl
from app.domain.imports.stored import StoredSource
from app.platform.errors import InvalidRequestError


def check(source: StoredSource) -> None:
    """Refuse a source that no run could take.

    Raises:
        InvalidRequestError: its URL can be read in two ways or leads nowhere, it refers to a secret where none may
            stand, its query is no SELECT, its driver is not there, or its storage or an option is none.
    """
    secrets.check(source)
    try:
        if source["type"] == "url":
            _check_host(source["url"])
        elif source["type"] == "database":
            from app.domain.imports.sources import database  # noqa: PLC0415  (few are asked for, and it loads SQLite)

            database.check(database.url_of(secrets.REFERENCE.sub("x", source["url"])))
            database.checked(source["query"])
        elif source["type"] == "storage":
            from app.domain.imports.sources import storage  # noqa: PLC0415  (few are asked for, and it loads fsspec)

            storage.check(source)
    except UnreadableError as error:
        raise InvalidRequestError(error.detail, [{"loc": ["body", "source"], "msg": error.detail}]) from error


def _check_host(url: str) -> None:
    if not SourceUrl.parse(secrets.REFERENCE.sub("x", url)).host:
        raise UnreadableError("The URL has no host.")
