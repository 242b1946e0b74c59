"""Ids of customers as they come in: each field and parameter that holds one has this type."""

from typing import Annotated

from pydantic import AfterValidator

from app.platform.settings import get_settings
from app.schema.texts import MAX_ID_LENGTH, IdText, no_step


def as_read(id_: str) -> str:
    """Return an id as the setting `VOUCHERS_CUSTOMER_IDS` says: as it is, or trimmed and in lower case."""
    return id_.strip().lower() if get_settings().customer_ids == "lowercase" else id_


def _given(id_: str) -> str:
    # One call for each of the 10,000 items of a batch: what is asked is asked here.
    if get_settings().customer_ids == "lowercase":
        id_ = id_.strip().lower()
        if not 0 < len(id_) <= MAX_ID_LENGTH:  # letters become two: İ
            raise ValueError(f"an id has 1 to {MAX_ID_LENGTH} characters beside white space")
    return no_step(id_) if id_[0] == "." else id_


CustomerId = Annotated[IdText, AfterValidator(_given)]
"""The id of a customer."""
