"""Texts about a source, without the secrets that are in it."""

from collections.abc import Iterator
from urllib.parse import quote

from app.domain.imports.sources.urls import SourceUrl
from app.domain.imports.stored import StoredSource

HIDDEN = "***"


def without(source: StoredSource, text: str) -> str:
    """Return a text about a source without the source's secrets."""
    for secret in sorted(_secrets(source), key=len, reverse=True):
        for form in {secret, quote(secret, safe=""), quote(secret), repr(secret)[1:-1]}:
            text = text.replace(form, HIDDEN)
    return text


def _secrets(source: StoredSource) -> set[str]:
    found = set(_strings(source.get("options") or {}))
    try:
        url = SourceUrl.parse(source.get("url", ""))
    except ValueError:
        return found
    return {secret for secret in found | url.secrets() if secret}


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in {"region_name", "endpoint_url"}:
                yield from _strings(item)
