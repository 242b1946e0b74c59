"""A file in a storage that `fsspec` knows: S3, Google Cloud Storage, SFTP, or a folder of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from app.domain.imports.errors import UnreadableError
from app.platform import outbound
from app.platform.settings import Settings

Opened = tuple[Any, str]
"""A file system, and a path in it."""
BLOCK = 1024**2
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
S3_OPTIONS = {"key", "secret", "token", "endpoint_url", "region_name"}


def fetch(settings: Settings, source: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of the file."""
    scheme = urlsplit(source["url"]).scheme
    if scheme not in OPENERS or "::" in source["url"]:
        raise UnreadableError(f"There is no storage {scheme!r}; there are {', '.join(OPENERS)}.")
    with (
        OPENERS[scheme](settings, source["url"], source.get("options") or {}) as (filesystem, path),
        filesystem.open(path, "rb", block_size=BLOCK) as file,
    ):
        while block := file.read(BLOCK):
            yield block


def inside(settings: Settings, path: str) -> Path:
    """A path in the folder that imports may read.

    Raises:
        UnreadableError: it leads elsewhere, or there is no such folder.
    """
    folder = settings.import_folder
    if folder is None:
        raise UnreadableError("Files of this machine may not be read; VOUCHERS_IMPORT_FOLDER is not set.")
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise UnreadableError("There is no such file in the folder that imports may read.")
    return found


@contextmanager
def _local(settings: Settings, url: str, _: dict[str, Any]) -> Iterator[Opened]:
    yield fsspec.filesystem("file"), str(inside(settings, unquote(urlsplit(url).path)))


@contextmanager
def _s3(settings: Settings, url: str, options: dict[str, Any]) -> Iterator[Opened]:
    if strange := set(options) - S3_OPTIONS:
        raise UnreadableError(
            f"S3 takes no option {min(strange)!r}; it takes {', '.join(sorted(S3_OPTIONS))}."
        )
    from app.domain.imports.sources.checked_names import CheckedNames  # noqa: PLC0415  (aiohttp comes with the extra)

    endpoint = options.get("endpoint_url")
    if endpoint:  # an address is not resolved, so not checked again
        parts = urlsplit(endpoint)
        outbound.check_host(settings, parts.hostname or "", parts.port or 443)
    filesystem = fsspec.filesystem(
        "s3",
        key=options.get("key"),
        secret=options.get("secret"),
        token=options.get("token"),
        anon="key" not in options,  # never the service's own identity
        endpoint_url=endpoint,
        config_kwargs={"connector_args": {"resolver": CheckedNames(settings)}},
        client_kwargs={"region_name": options.get("region_name", "us-east-1")},
        skip_instance_cache=True,
    )
    try:
        yield filesystem, url
    finally:
        filesystem.close_session(filesystem.loop, filesystem.s3)


@contextmanager
def _gs(_: Settings, url: str, options: dict[str, Any]) -> Iterator[Opened]:
    token = options.get("token", "anon")
    # Other kinds of credentials name programs to run and addresses to ask.
    of_account = isinstance(token, dict) and token.get("type") == "service_account"
    if token != "anon" and not (of_account and token.get("token_uri") == GOOGLE_TOKENS):  # noqa: S105
        raise UnreadableError("Google Cloud Storage takes one option, `token`: a service account's JSON.")
    # By its name `gs` fsspec gives a class that first asks, by another protocol, what kind of bucket it is.
    from gcsfs.core import GCSFileSystem  # noqa: PLC0415  (an extra)

    filesystem = GCSFileSystem(token=token, skip_instance_cache=True)
    try:
        yield filesystem, url
    finally:
        filesystem.close_session(filesystem.loop, filesystem.session)


@contextmanager
def _sftp(settings: Settings, url: str, options: dict[str, Any]) -> Iterator[Opened]:
    parts = urlsplit(url)
    if strange := set(options) - {"host_key"}:
        raise UnreadableError(f"SFTP takes no option {min(strange)!r}; it takes host_key.")
    if not parts.hostname:
        raise UnreadableError("The SFTP URL has no host.")
    address = outbound.check_host(settings, parts.hostname, parts.port or 22)[0]
    filesystem = fsspec.filesystem(
        "sftp",
        host=address,
        port=parts.port or 22,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host_key_policy=_host_key_policy(options.get("host_key")),
        look_for_keys=False,  # never the service's own identity
        allow_agent=False,
        timeout=30,
        skip_instance_cache=True,
    )
    try:
        yield filesystem, unquote(parts.path)
    finally:
        filesystem.client.close()


def _host_key_policy(lines: str | None) -> Any:
    """How a server is told from another: by its keys, where they are given."""
    if lines is None:
        return "auto_add"
    from app.domain.imports.sources.host_key import HostKey  # noqa: PLC0415  (paramiko is an extra)

    return HostKey(lines)


OPENERS = {"s3": _s3, "gs": _gs, "sftp": _sftp, "file": _local}
