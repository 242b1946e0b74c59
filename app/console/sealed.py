"""What a browser carries for the console: sealed texts that nobody can read or change."""

from typing import Any

import orjson
from cryptography.fernet import InvalidToken

from app.platform.sealing import fernet
from app.platform.settings import Settings


def seal(settings: Settings, purpose: str, value: dict[str, Any]) -> str:
    """Seal a value for one purpose."""
    return fernet(settings).encrypt(orjson.dumps([purpose, value])).decode()


def unseal(settings: Settings, purpose: str, token: str, seconds: int) -> dict[str, Any] | None:
    """Return what was sealed for this purpose within so many seconds, or None."""
    try:
        sealed_for, value = orjson.loads(fernet(settings).decrypt(token.encode(), ttl=seconds))
    except (InvalidToken, UnicodeError):
        return None
    return value if sealed_for == purpose and isinstance(value, dict) else None
