"""What can be told of a source before it is fetched: whatever can never work is refused when it is given."""

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources import secrets
from app.domain.imports.sources.limits import Limits, Place
from app.domain.imports.sources.urls import SourceUrl
from app.domain.imports.stored import StoredSource
from app.platform.errors import InvalidRequestError
from app.platform.reachable import objection
from app.platform.settings import Settings


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
        raise _refused(error.detail) from error


async def check_reach(settings: Settings, source: StoredSource) -> None:
    """Refuse a source that no run of this service may fetch: for where it leads, or a secret that may not go there.

    A host that is not known now may be later, and so may a file be there. It may wait for the resolver: hold no
    connection meanwhile.

    Raises:
        InvalidRequestError: it is such, or one that no run could take.
    """
    check(source)
    limits = Limits(settings.allowed_hosts, settings.import_folder, settings.fetch_seconds)
    try:
        place = _place_of(limits, secrets.filled(source))
    except UnreadableError as error:
        raise _refused(error.detail) from error
    why = None if place is None else await objection(settings, *place)
    if why is not None:
        raise _refused(why)


def _place_of(limits: Limits, source: StoredSource) -> Place | None:
    """Return host and port that a source leads to; None where there is none, or it leads to a library's own.

    Raises:
        UnreadableError: it leads to a file that imports may not read.
    """
    if source["type"] == "url":
        url = SourceUrl.parse(source["url"])
        return url.host, int(url.port or (443 if url.scheme == "https" else 80))
    if source["type"] == "database":
        from app.domain.imports.sources import database  # noqa: PLC0415  (as above)

        return database.place_of(limits, database.url_of(source["url"]))
    if source["type"] == "storage":
        from app.domain.imports.sources import storage  # noqa: PLC0415  (as above)

        return storage.place_of(limits, source["url"], source.get("options") or {})
    return None


def _check_host(url: str) -> None:
    if not SourceUrl.parse(secrets.REFERENCE.sub("x", url)).host:
        raise UnreadableError("The URL has no host.")


def _refused(why: str) -> InvalidRequestError:
    return InvalidRequestError(why, [{"loc": ["body", "source"], "msg": why}])
