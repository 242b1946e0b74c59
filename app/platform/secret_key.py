"""The key that seals, where no setting gives one: kept in the database, the same for every process and machine.

It is wrapped with a key made from the password of the database URL. Who reads a backup so finds the sealed sources
and a wrapped key, and opens neither.
"""

import base64
import os
from contextlib import suppress

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from app.platform.connections import connect_sync
from app.platform.database_url import parameters
from app.platform.errors import CommandError
from app.platform.sealing import key_of_home
from app.platform.settings import Settings

_ADD = "INSERT INTO sealing_key (salt, wrapped) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_READ = "SELECT salt, wrapped FROM sealing_key"


def ensure(settings: Settings, *, embedded: bool) -> str:
    """Return the key that this service seals with; make one where there is none.

    Args:
        settings: of this process.
        embedded: whether the database is the service's own, which keeps its key beside it, in `home`.

    Raises:
        CommandError: the key in the database was wrapped under another password.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    if embedded:
        return key_of_home(settings)
    password = parameters(settings.sqlalchemy_url).get("password", "").encode()
    with connect_sync(settings, autocommit=True) as connection:
        row = connection.execute(_READ).fetchone()
        if row is None:
            salt = os.urandom(16)
            connection.execute(_ADD, (salt, _wrapping(password, salt).encrypt(_first(settings))))
            row = connection.execute(_READ).fetchone()  # of two at once one is first, and both take its key
    if row is None:
        raise CommandError("The key that seals could not be stored; set VOUCHERS_SECRET_KEY.")
    try:
        return _wrapping(password, bytes(row[0])).decrypt(bytes(row[1])).decode()
    except InvalidToken:
        raise CommandError(
            "The key that seals the sources of imports was stored under another password of the database."
            " Set VOUCHERS_SECRET_KEY; sources that were stored without it have to be stored again."
        ) from None


def _first(settings: Settings) -> bytes:
    """Return the key to begin with: the one that an earlier release made in `home`, if it did."""
    with suppress(OSError, ValueError):
        if (settings.home / "secret.key").exists():
            key = key_of_home(settings)
            Fernet(key)
            return key.encode()
    return Fernet.generate_key()


def _wrapping(password: bytes, salt: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(Scrypt(salt, 32, 2**14, 8, 1).derive(password)))
