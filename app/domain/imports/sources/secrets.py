"""Secrets at rest: a source is kept encrypted as a whole, and shown without its secrets."""

import os
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from cryptography.fernet import InvalidToken

from app.domain.imports.errors import UnreadableError
from app.platform.errors import InvalidRequestError
from app.platform.sealing import fernet
from app.platform.settings import Settings

HIDDEN = "***"
REFERENCE = re.compile(r"\$\{env:([^}]*)\}")
PREFIX = "VOUCHERS_SOURCE_"
"""Of the names that a source may refer to: other variables are none of a caller's business."""


def seal(settings: Settings, source: dict[str, Any]) -> bytes:
    """The source, encrypted."""
    return fernet(settings).encrypt(orjson.dumps(source))


def unseal(settings: Settings, sealed: bytes) -> dict[str, Any]:
    """The source, with its references to the environment filled in.

    Raises:
        UnreadableError: it was sealed with another key, or refers to a variable that is not set.
    """
    try:
        source: dict[str, Any] = orjson.loads(fernet(settings).decrypt(bytes(sealed)))
    except InvalidToken as error:
        raise UnreadableError(
            "The source was stored under another VOUCHERS_SECRET_KEY; store it again."
        ) from error
    return filled(source)


def filled(source: dict[str, Any]) -> dict[str, Any]:
    """The source with its references to the environment filled in.

    Raises:
        UnreadableError: a variable is not set.
    """
    whole: dict[str, Any] = _filled(source)
    return whole


def check_references(source: Any) -> None:
    """Refuse references to variables that are not meant for sources.

    Raises:
        InvalidRequestError: there is one.
    """
    for name in REFERENCE.findall(orjson.dumps(source).decode()):
        if not name.startswith(PREFIX):
            raise InvalidRequestError(
                f"A source may refer to environment variables named {PREFIX}…, not to {name!r}.",
                [{"loc": ["body", "source"], "msg": f"refers to {name}"}],
            )


def shown(source: dict[str, Any]) -> dict[str, Any]:
    """The source as anyone may see it."""
    visible = {name: value for name, value in source.items() if name != "text" and value is not None}
    if "url" in visible:
        visible["url"] = _masked(visible["url"])
    if visible.get("options"):
        visible["options"] = dict.fromkeys(visible["options"], HIDDEN)
    return visible


def secrets_of(source: dict[str, Any]) -> list[str]:
    """What must not appear in a message about the source."""
    parts = urlsplit(source.get("url", ""))
    values = [
        parts.netloc.rpartition("@")[0].partition(":")[2],
        *(value for _, value in parse_qsl(parts.query)),
    ]
    return [
        value
        for value in [*values, *(source.get("options") or {}).values()]
        if isinstance(value, str) and value
    ]


def _masked(url: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    if password and not REFERENCE.fullmatch(password):
        password = HIDDEN
    query = re.sub(r"=[^&]*", f"={HIDDEN}", parts.query)
    return parts._replace(netloc=f"{name}{colon}{password}{at}{host}", query=query, fragment="").geturl()


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item) for name, item in value.items()}
    return REFERENCE.sub(_variable, value) if isinstance(value, str) else value


def _variable(match: re.Match[str]) -> str:
    name = match[1]
    if not name.startswith(PREFIX) or name not in os.environ:
        raise UnreadableError(f"The source refers to the environment variable {name!r}, which is not set.")
    return os.environ[name]
