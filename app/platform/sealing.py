"""Encryption of what is kept secret in the database."""

import os
from contextlib import suppress

from cryptography.fernet import Fernet

from app.platform.settings import Settings


def _fernet(settings: Settings) -> Fernet:
    if settings.secret_key is not None:
        return Fernet(settings.secret_key.get_secret_value())
    path = settings.home / "secret.key"
    if not path.exists():
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = settings.home / f".secret.key-{os.getpid()}"
        new.touch(mode=0o600)
        new.write_bytes(Fernet.generate_key())
        with suppress(FileExistsError):
            os.link(new, path)  # of two at once one is first, and the other uses its key
        new.unlink()
    return Fernet(path.read_bytes())
