"""Secrets of sources: kept encrypted, shown masked, and sent only where the operator lets them go.

Instead of a secret a source may hold `${env:VOUCHERS_SOURCE_X}`, in the places of secrets only: the password and the
query values of a URL, and the credentials among a storage's options. The operator binds each to hosts by
`VOUCHERS_SOURCE_X_HOSTS`; without it, it goes nowhere.
"""

import os
import re
from collections.abc import Callable
from urllib.parse import quote

import orjson
from cryptography.fernet import InvalidToken

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources.masking import HIDDEN
from app.domain.imports.sources.urls import SourceUrl
from app.domain.imports.stored import StoredSource
from app.platform.errors import InvalidRequestError
from app.platform.sealing import fernet
from app.platform.settings import Settings

REFERENCE = re.compile(r"\$\{env:([A-Za-z0-9_]*)\}")
LIKE_A_REFERENCE = re.compile(r"\$\{\s*env", re.IGNORECASE)
PREFIX, HOSTS = "VOUCHERS_SOURCE_", "_HOSTS"
CREDENTIALS = {"key", "secret", "token"}
"""Options of storages that may be, or hold, a reference."""
HOST_OF_STORAGE = {"s3": "s3.amazonaws.com", "gs": "storage.googleapis.com"}
"""Where credentials of a storage go whose URL names no host."""

Put = Callable[[str], str]


def seal(settings: Settings, source: StoredSource) -> bytes:
    """Encrypt a source."""
    return fernet(settings).encrypt(orjson.dumps(source))


def unseal(settings: Settings, sealed: bytes) -> StoredSource:
    """Decrypt a source; its references to the environment are still in it.

    Raises:
        UnreadableError: it was sealed with another key.
    """
    try:
        source: StoredSource = orjson.loads(fernet(settings).decrypt(bytes(sealed)))
    except InvalidToken as error:
        raise UnreadableError(
            "The source was stored under another VOUCHERS_SECRET_KEY; store it again."
        ) from error
    return source


def filled(source: StoredSource) -> StoredSource:
    """Return the source with its references to the environment filled in.

    Raises:
        UnreadableError: a variable is not set, is not meant for the host of the source, or stands where no secret may.
    """
    host = _host(source)
    try:
        whole = _replaced(source, lambda name: _variable(name, host))
    except ValueError as error:
        raise UnreadableError(f"{error}.") from error
    return whole


def check(source: StoredSource) -> None:
    """Refuse references that are not allowed, and URLs that two programs could read in two ways.

    Raises:
        InvalidRequestError: there is one.
    """
    try:
        _replaced(source, _allowed_name)
    except ValueError as error:
        raise InvalidRequestError(f"{error}.", [{"loc": ["body", "source"], "msg": str(error)}]) from error


def masked(source: StoredSource) -> dict[str, object]:
    """Return the source as anyone may see it."""
    visible = {name: value for name, value in source.items() if name != "text" and value is not None}
    if "url" in source:
        visible["url"] = _masked(source["url"])
    if options := source.get("options"):
        visible["options"] = dict.fromkeys(options, HIDDEN)
    return visible


def _replaced(source: StoredSource, put: Put) -> StoredSource:
    """Return the source with each reference replaced, where references may stand.

    Raises:
        ValueError: one stands elsewhere, or the URL is not plain.
    """
    whole = source.copy()
    if "url" in whole:
        whole["url"] = _url(whole["url"], put)
    options = source.get("options") or {}
    if options:
        whole["options"] = {
            name: _values(value, put) if name in CREDENTIALS else value for name, value in options.items()
        }
    rest: dict[str, object] = {**source, "url": REFERENCE.sub("", source.get("url", ""))}
    rest["options"] = {n: v for n, v in options.items() if n not in CREDENTIALS}
    if LIKE_A_REFERENCE.search(orjson.dumps(rest).decode()):
        raise ValueError(
            "a reference to the environment stands where no secret may stand:"
            " it may be in a URL's password or query values, or in a storage's credentials"
        )
    return whole


def _values(value: object, put: Put) -> object:
    if isinstance(value, dict):
        return {name: _values(item, put) for name, item in value.items()}
    return REFERENCE.sub(lambda found: put(found[1]), value) if isinstance(value, str) else value


def _url(text: str, put: Put) -> str:
    """Return a URL with its references replaced, encoded as their place needs it."""
    names: list[str] = []
    marks: list[str] = []

    def mark(found: re.Match[str]) -> str:
        names.append(found[1])
        marks.append(f"vpReference{len(marks)}x{os.urandom(8).hex()}")
        return marks[-1]

    marked = REFERENCE.sub(mark, text)
    url = SourceUrl.parse(marked)
    for name, mark_ in zip(names, marks, strict=True):
        value = quote(put(name), safe="")
        if not any(mark_ in secret for secret in url.places_of_secrets()):
            raise ValueError(
                f"the reference to {name} stands where no secret may stand:"
                " it may be in a URL's password or query values, or in a storage's credentials"
            )
        marked = marked.replace(mark_, value)
    return marked


def _masked(text: str) -> str:
    """Return a URL without its user-info and the values of its query; a reference stays, it is no secret."""
    references: list[str] = []

    def mark(found: re.Match[str]) -> str:
        references.append(found[0])
        return f"vpReference{len(references) - 1}x"

    try:
        shown_ = SourceUrl.parse(REFERENCE.sub(mark, text)).masked(HIDDEN, re.compile(r"(vpReference\d+x)+"))
    except ValueError:  # of an earlier release: what is not understood is not shown
        return f"{text.partition(':')[0]}:{HIDDEN}"
    for number, reference in enumerate(references):
        shown_ = shown_.replace(f"vpReference{number}x", reference)
    return shown_


def _host(source: StoredSource) -> str:
    """Return the host that the secrets of a source are sent to."""
    options = source.get("options") or {}
    text = options.get("endpoint_url") or source.get("url", "")
    try:
        url = SourceUrl.parse(REFERENCE.sub("x", str(text)))
    except ValueError:
        return ""
    return HOST_OF_STORAGE.get(url.scheme, url.host)


def _allowed_name(name: str) -> str:
    if not name.startswith(PREFIX) or name.endswith(HOSTS):
        raise ValueError(f"a source may refer to environment variables named {PREFIX}…, not to {name!r}")
    return "x"


def _variable(name: str, host: str) -> str:
    _allowed_name(name)
    if not os.environ.get(name):
        raise ValueError(f"The source refers to the environment variable {name!r}, which is not set")
    hosts = [entry.strip().lower() for entry in os.environ.get(f"{name}{HOSTS}", "").split(",")]
    if not host or host.lower() not in hosts:
        raise ValueError(
            f"The secret {name!r} may not be sent to {host!r}: the operator lists its hosts in {name}{HOSTS}"
        )
    return os.environ[name]
