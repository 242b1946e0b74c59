"""Digests: `hash`, `md5`, `sha1`, `sha256`.

After https://documentation.bloomreach.com/engagement/docs/filters: hexadecimal, of the text in UTF-8.
SHA-256 as the default is ours: what could be read of the page does not tell theirs.
"""

import hashlib

from jinja2 import TemplateRuntimeError

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")


def digest(value: object, algorithm: str = "sha256") -> str:
    """Return the digest of a text."""
    if algorithm not in ALGORITHMS:
        raise TemplateRuntimeError(f"'hash' knows {', '.join(ALGORITHMS)}.")
    return hashlib.new(algorithm, str(value).encode(), usedforsecurity=False).hexdigest()


def md5(value: object) -> str:
    """Return the MD5 of a text."""
    return digest(value, "md5")


def sha1(value: object) -> str:
    """Return the SHA-1 of a text."""
    return digest(value, "sha1")


def sha256(value: object) -> str:
    """Return the SHA-256 of a text."""
    return digest(value, "sha256")


FILTERS = {"hash": digest, "md5": md5, "sha1": sha1, "sha256": sha256}
