"""The key by which an SFTP server is known."""

import base64
import binascii

import paramiko

from app.domain.imports.errors import UnreadableError

_BEGINS = "AAAA"
"""Every public key of SSH, in base64, begins like this: the length of its type's name (RFC 4253, section 6.6)."""


class HostKey(paramiko.MissingHostKeyPolicy):
    """Takes a server by the public keys given, and no other."""

    def __init__(self, lines: str) -> None:
        """Take lines as `ssh-keyscan` or `known_hosts` has them.

        Raises:
            UnreadableError: there is no key in them.
        """
        try:
            self.keys = {
                base64.b64decode(word, validate=True) for word in lines.split() if word.startswith(_BEGINS)
            }
        except binascii.Error:
            self.keys = set()
        if not self.keys:
            raise UnreadableError("`host_key` is no public key as `ssh-keyscan HOST` prints it.")

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        """Refuse another key."""
        if key.asbytes() not in self.keys:
            raise UnreadableError(
                f"The SFTP server has another key than `host_key`: {key.get_name()} {key.fingerprint}."
            )
