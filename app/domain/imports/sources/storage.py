"""A file in a storage that `fsspec` knows: S3, Google Cloud Storage, SFTP, or a folder of this machine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec import AbstractFileSystem

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources.limits import Limits, Place
from app.domain.imports.sources.local import inside, path_in
from app.domain.imports.sources.public_keys import keys_of
from app.domain.imports.sources.urls import SourceUrl
from app.domain.imports.stored import StoredSource
from app.platform.reachable import check_host

Options = Mapping[str, object]
Opened = tuple[AbstractFileSystem, str]
"""A file system, and a path in it."""
BLOCK = 1024**2
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
NAMES = {"s3": "S3", "gs": "Google Cloud Storage", "sftp": "SFTP", "file": "A folder of this machine"}
OPTIONS: dict[str, set[str]] = {
    "s3": {"key", "secret", "token", "endpoint_url", "region_name"},
    "gs": {"token"},
    "sftp": {"host_key"},
    "file": set(),
}


def fetch(settings: Limits, source: StoredSource) -> Iterator[bytes]:
    """Yield the bytes of the file."""
    check(source)
    with (
        OPENERS[urlsplit(source["url"]).scheme](settings, source["url"], source.get("options") or {}) as (
            filesystem,
            path,
        ),
        filesystem.open(path, "rb", block_size=BLOCK) as file,
    ):
        while block := file.read(BLOCK):
            yield block


def check(source: StoredSource) -> None:
    """Refuse a storage or an option that is not known, and options by which no storage could be opened.

    Raises:
        UnreadableError: it is such.
    """
    scheme = urlsplit(source["url"]).scheme
    if scheme not in OPENERS or "::" in source["url"]:
        raise UnreadableError(f"There is no storage {scheme!r}; there are {', '.join(OPENERS)}.")
    takes = OPTIONS[scheme]
    options = source.get("options") or {}
    if strange := set(options) - takes:
        known = f"it takes {', '.join(sorted(takes))}" if takes else "it takes none"
        raise UnreadableError(f"{NAMES[scheme]} takes no option {min(strange)!r}; {known}.")
    if scheme in CHECKS:
        CHECKS[scheme](source["url"], options)


def _check_s3(_: str, options: Options) -> None:
    if any(not isinstance(value, str) for value in options.values() if value is not None):
        raise UnreadableError("The options of S3 are texts.")
    if bool(options.get("key")) != bool(options.get("secret")):  # the library would look for the other one
        raise UnreadableError("S3 takes `key` and `secret` together, or neither.")
    if endpoint := options.get("endpoint_url"):
        _endpoint(str(endpoint))


def _endpoint(text: str) -> SourceUrl:
    try:
        url = SourceUrl.parse(text)
    except ValueError as error:
        raise UnreadableError(f"`endpoint_url`: {error}.") from error
    if url.scheme not in {"http", "https"} or not url.host or url.user is not None:
        raise UnreadableError("`endpoint_url` has the form https://host.")
    return url


def _check_gs(_: str, options: Options) -> None:
    token = options.get("token", "anon")
    # Other kinds of credentials name programs to run and addresses to ask.
    of_account = (
        isinstance(token, dict)
        and token.get("type") == "service_account"
        and token.get("token_uri") == GOOGLE_TOKENS
    )
    if token != "anon" and not of_account:  # noqa: S105
        raise UnreadableError("Google Cloud Storage takes one option, `token`: a service account's JSON.")


def _check_sftp(url: str, options: Options) -> None:
    if not urlsplit(url).hostname:
        raise UnreadableError("The SFTP URL has no host.")
    if (lines := options.get("host_key")) is not None:
        keys_of(str(lines))


CHECKS: dict[str, Callable[[str, Options], None]] = {"s3": _check_s3, "gs": _check_gs, "sftp": _check_sftp}


def place_of(settings: Limits, url: str, options: Options) -> Place | None:
    """Return host and port of a storage; None where its library knows them, or it is a file that imports may read.

    Raises:
        UnreadableError: it is another file.
    """
    find = PLACES.get(urlsplit(url).scheme)
    return None if find is None else find(settings, url, options)


def _place_of_s3(_: Limits, __: str, options: Options) -> Place | None:
    if not (endpoint := options.get("endpoint_url")):
        return None
    at = _endpoint(str(endpoint))
    return at.host, int(at.port or 443)


def _place_of_sftp(_: Limits, url: str, __: Options) -> Place:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 22


def _place_of_file(settings: Limits, url: str, _: Options) -> None:
    path_in(settings, _path(url))


def _path(url: str) -> str:
    return unquote(urlsplit(url).path)


PLACES: dict[str, Callable[[Limits, str, Options], Place | None]] = {
    "s3": _place_of_s3,
    "sftp": _place_of_sftp,
    "file": _place_of_file,
}


@contextmanager
def _local(settings: Limits, url: str, _: Options) -> Iterator[Opened]:
    yield fsspec.filesystem("file"), str(inside(settings, _path(url)))


@contextmanager
def _s3(settings: Limits, url: str, options: Options) -> Iterator[Opened]:
    from app.domain.imports.sources.checked_names import CheckedNames  # noqa: PLC0415  (aiohttp comes with the extra)

    if place := _place_of_s3(settings, url, options):  # an address is not resolved, so not checked again
        check_host(settings, *place)
    filesystem = fsspec.filesystem(
        "s3",
        key=options.get("key") or None,
        secret=options.get("secret") or None,
        token=(options.get("token") or None) if options.get("key") else None,
        anon=not options.get("key"),  # never the service's own identity
        endpoint_url=options.get("endpoint_url"),
        config_kwargs={"connector_args": {"resolver": CheckedNames(settings)}},
        client_kwargs={"region_name": options.get("region_name") or "us-east-1"},
        skip_instance_cache=True,
    )
    try:
        yield filesystem, _key(url)
    finally:
        filesystem.close_session(filesystem.loop, filesystem.s3)


def _key(url: str) -> str:
    """Return bucket and key of a URL; blanks and umlauts are percent-encoded in it."""
    parts = urlsplit(url)
    return f"{parts.netloc}{unquote(parts.path)}"


@contextmanager
def _gs(_: Limits, url: str, options: Options) -> Iterator[Opened]:
    # By its name `gs` fsspec gives a class that first asks, by another protocol, what kind of bucket it is.
    from gcsfs.core import GCSFileSystem  # noqa: PLC0415  (an extra)

    filesystem = GCSFileSystem(token=options.get("token", "anon"), skip_instance_cache=True)
    try:
        yield filesystem, _key(url)
    finally:
        filesystem.close_session(filesystem.loop, filesystem.session)


@contextmanager
def _sftp(settings: Limits, url: str, options: Options) -> Iterator[Opened]:
    parts, place = urlsplit(url), _place_of_sftp(settings, url, options)
    filesystem = fsspec.filesystem(
        "sftp",
        host=check_host(settings, *place)[0],
        port=place[1],
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host_key_policy=_host_key_policy(options.get("host_key")),
        look_for_keys=False,  # never the service's own identity
        allow_agent=False,
        timeout=30,
        skip_instance_cache=True,
    )
    try:
        yield filesystem, _path(url)
    finally:
        filesystem.client.close()


def _host_key_policy(lines: object) -> object:
    """Return how a server is told from another: by its keys, where they are given."""
    if not isinstance(lines, str):
        return "auto_add"
    from app.domain.imports.sources.host_key import HostKey  # noqa: PLC0415  (paramiko is an extra)

    return HostKey(lines)


OPENERS = {"s3": _s3, "gs": _gs, "sftp": _sftp, "file": _local}
