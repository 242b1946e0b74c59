"""Encryption of what is kept secret: sources at rest, and the cursors that callers carry.

The key is `VOUCHERS_SECRET_KEY`. It may hold several, separated by commas: the first seals, all of them open.
The command line sees to it that there is one (`app/platform/secret_key.py`), the same for every process.
"""

import base64
import os
from contextlib import suppress
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from app.platform.settings import Settings

_NONCE = 12
_FILE = "secret.key"


class NotSealedHereError(ValueError):
    """A text was not sealed with one of the present keys, or for something else."""


class TextSealer:
    """Seals short texts that travel through the hands of callers: nobody can read or change them."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._ciphers = [AESGCM(_derived(key)) for key in keys]

    def seal(self, text: bytes, purpose: str) -> str:
        """Encrypt a text; only `open` with the same purpose takes it."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._ciphers[0].encrypt(nonce, text, purpose.encode())
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, sealed: str, purpose: str) -> bytes:
        """Decrypt what `seal` made.

        Raises:
            NotSealedHereError: it was not made with one of the keys for this purpose.
        """
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise NotSealedHereError from error
        for cipher in self._ciphers:
            with suppress(InvalidTag, ValueError):
                return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], purpose.encode())
        raise NotSealedHereError


def fernet(settings: Settings) -> MultiFernet:
    """Return the cipher of what is kept in the database."""
    return MultiFernet([Fernet(key) for key in keys_of(settings)])


def text_sealer(settings: Settings) -> TextSealer:
    """Return the sealer of texts for these settings."""
    return _text_sealer(keys_of(settings))


def keys_of(settings: Settings) -> tuple[str, ...]:
    """Return the keys, the one that seals first; without a setting the one in the home folder."""
    if settings.secret_key is not None:
        return split(settings.secret_key)
    return (key_of_home(settings),)


def split(setting: SecretStr) -> tuple[str, ...]:
    """Return the keys of a setting that may hold several."""
    return tuple(key.strip() for key in setting.get_secret_value().split(",") if key.strip())


def key_of_home(settings: Settings) -> str:
    """Return the key that is kept in the home folder; make one where there is none."""
    path = settings.home / _FILE
    if not path.exists():
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = settings.home / f".{_FILE}-{os.getpid()}"
        new.touch(mode=0o600)
        new.write_bytes(Fernet.generate_key())
        with suppress(FileExistsError):
            os.link(new, path)  # of two at once one is first, and the other uses its key
        new.unlink()
    return path.read_text().strip()


@lru_cache(maxsize=8)
def _text_sealer(keys: tuple[str, ...]) -> TextSealer:
    return TextSealer(keys)


def _derived(key: str) -> bytes:
    """Return a key for texts: the same bytes must not serve two ciphers."""
    return HKDF(SHA256(), 32, None, b"voucher-pools texts").derive(base64.urlsafe_b64decode(key))
