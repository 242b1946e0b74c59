"""What a browser carries for the console: sealed texts that nobody can read or change."""

from typing import TypeVar

import orjson
from cryptography.fernet import InvalidToken
from pydantic import TypeAdapter, ValidationError

from app.platform.clock import clock
from app.platform.sealing import fernet
from app.platform.settings import Settings

Value = TypeVar("Value")


def seal(settings: Settings, purpose: str, value: object) -> str:
    """Seal a value for one purpose."""
    return fernet(settings).encrypt_at_time(orjson.dumps([purpose, value]), int(clock.timestamp())).decode()


def unseal(
    settings: Settings, purpose: str, token: str, seconds: int, kind: TypeAdapter[Value]
) -> Value | None:
    """Return what was sealed for this purpose within so many seconds, or None."""
    try:
        opened = fernet(settings).decrypt_at_time(token.encode(), seconds, int(clock.timestamp()))
        sealed_for, value = orjson.loads(opened)
        return kind.validate_python(value) if sealed_for == purpose else None
    except (InvalidToken, UnicodeError, ValidationError):
        return None
