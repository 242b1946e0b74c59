"""Ids of customers as they come in: each field and parameter that holds one has this type."""

from typing import Annotated

from pydantic import BeforeValidator

from app.platform.settings import get_settings
from app.schema.texts import Identifier


def as_read(id_: str) -> str:
    """Return an id as the setting `VOUCHERS_CUSTOMER_IDS` says: as it is, or trimmed and in lower case."""
    return id_.strip().lower() if get_settings().customer_ids == "lowercase" else id_


def _given(value: object) -> object:
    return as_read(value) if isinstance(value, str) else value


CustomerId = Annotated[Identifier, BeforeValidator(_given)]
"""The id of a customer."""
