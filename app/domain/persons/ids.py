"""Ids of customers as they come in: each field and parameter that holds one has this type."""

from typing import Annotated

from pydantic import AfterValidator

from app.platform.settings import get_settings
from app.schema.texts import MAX_ID_LENGTH, IdText, no_step


def as_read(id_: str) -> str:
    """Return an id as the setting `VOUCHERS_CUSTOMER_IDS` says: as it is, or trimmed and in lower case."""
    return id_.strip().lower() if get_settings().customer_ids == "lowercase" else id_


def checked(id_: str) -> str:
    """Return an id as it is read.

    Raises:
        ValueError: what it is read as is no id.
    """
    read = as_read(id_)
    if not 0 < len(read) <= MAX_ID_LENGTH:  # nothing is left, or letters became two: İ
        raise ValueError(f"an id has 1 to {MAX_ID_LENGTH} characters beside white space")
    return no_step(read)


CustomerId = Annotated[IdText, AfterValidator(checked)]
"""The id of a customer."""
