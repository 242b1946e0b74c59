"""The key by which an SFTP server is known."""

import paramiko

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources.public_keys import keys_of


class HostKey(paramiko.MissingHostKeyPolicy):
    """Takes a server by the public keys given, and no other."""

    def __init__(self, lines: str) -> None:
        """Take lines as `ssh-keyscan` or `known_hosts` has them.

        Raises:
            UnreadableError: there is no key in them.
        """
        self.keys = keys_of(lines)

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        """Refuse another key."""
        if key.asbytes() not in self.keys:
            raise UnreadableError(
                f"The SFTP server has another key than `host_key`: {key.get_name()} {key.fingerprint}."
            )
