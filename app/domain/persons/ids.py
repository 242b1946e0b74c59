"""Ids of customers as they come in: each field and parameter that holds one has this type."""

from typing import Annotated

from pydantic import BeforeValidator

from app.platform.settings import get_settings
from app.schema.texts import Identifier


def customer_id(given: object) -> object:
    """Return an id as the setting `VOUCHERS_CUSTOMER_IDS` says: as it is, or trimmed and in lower case."""
    if isinstance(given, str) and get_settings().customer_ids == "lowercase":
        return given.strip().lower()
    return given


CustomerId = Annotated[Identifier, BeforeValidator(customer_id)]
"""The id of a customer."""
