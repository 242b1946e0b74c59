"""Public keys of SSH servers, as `ssh-keyscan` and `known_hosts` have them."""

import base64
import binascii

from app.domain.imports.errors import UnreadableError

_BEGINS = "AAAA"
"""Every public key of SSH, in base64, begins like this: the length of its type's name (RFC 4253, section 6.6)."""


def keys_of(lines: str) -> set[bytes]:
    """Return the keys in some lines.

    Raises:
        UnreadableError: there is none in them.
    """
    try:
        keys = {base64.b64decode(word, validate=True) for word in lines.split() if word.startswith(_BEGINS)}
    except binascii.Error:
        keys = set()
    if not keys:
        raise UnreadableError("`host_key` is no public key as `ssh-keyscan HOST` prints it.")
    return keys
