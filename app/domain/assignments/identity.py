"""An assignment's id is its idempotency: the same request has the same id, and the primary key does the rest.

Ids are UUIDv5 (RFC 9562, section 5.5) over a text in which no part can run into the next.
"""

import hashlib
import uuid

import orjson

_KEYED = uuid.UUID("c1d7f3a0-4b52-5d8c-8e0b-7a6d2f915c34")
_ANEW = uuid.UUID("1f0f5c0b-6d0e-5a53-9c1a-2f6f3f0e8b44")
_DERIVED_VERSION = 5
"""Of the UUIDs that follow from a key or a message; the others are made (UUIDv7)."""
_OF_MESSAGES = hashlib.sha1(uuid.UUID("b0d6e7a4-3a0f-5e2b-8f1d-6c1f0e7c2a35").bytes, usedforsecurity=False)


def of_key(api_key_id: uuid.UUID, pool: str, key: str) -> uuid.UUID:
    """Return the id for an `Idempotency-Key` that an API key sent for a pool: of two API keys each has its own."""
    return uuid.uuid5(_KEYED, f"{api_key_id} {pool} {key}")  # neither an id nor a pool's name has white space


def of_message(message_id: str, customer_id: str | None, pool: str, occurrence: int) -> uuid.UUID:
    """Return the id for the `occurrence`-th voucher of a pool in the message to a customer."""
    digest = _OF_MESSAGES.copy()  # what `uuid5` does, in half of its time
    digest.update(orjson.dumps([message_id, customer_id, pool, occurrence]))
    number = int.from_bytes(digest.digest()[:16])
    return uuid.UUID(int=number & _FREE | _VERSION_5)  # a third of the time that `bytes` and `version` take


def repeats(id_: uuid.UUID) -> bool:
    """Tell whether the request with this id may come again, and finds what it was given then."""
    return id_.version == _DERIVED_VERSION


def drawn_anew(id_: uuid.UUID) -> uuid.UUID:
    """Return the id for the next voucher of a place in a message whose lease on the one before has lapsed."""
    return uuid.uuid5(_ANEW, str(id_))


_FREE, _VERSION_5 = ~(0xF << 76 | 3 << 62), 5 << 76 | 2 << 62
