"""What an import keeps as JSON: its source, whole and sealed, and how its file is read."""

from collections.abc import Mapping
from typing import NotRequired, TypeAlias, TypedDict

ColumnName: TypeAlias = str | int
"""A column by its name, or by its index from 0."""


class StoredSource(TypedDict):
    """A source as it was given; which fields it has depends on its type."""

    type: str
    text: NotRequired[str]
    url: NotRequired[str]
    query: NotRequired[str]
    options: NotRequired[dict[str, object] | None]
    of: NotRequired[str]
    property: NotRequired[str]
    event_type: NotRequired[str | None]
    where: NotRequired[Mapping[str, object] | None]
    column: NotRequired[ColumnName | None]
    """Of a query: the column of the codes, where the import names it."""


class StoredOptions(TypedDict, total=False):
    """How a file is read; what is missing or None is detected."""

    encoding: str | None
    delimiter: str | None
    quote: str | None
    has_header: bool | None
    skip_lines: int | None
    sheet: str | int | None
    column: ColumnName | None
    expires_at_column: ColumnName | None
    expires_at: str | None
    accept_suspicious: bool
    timezone: str | None
    date_format: str | None
    valid_from_column: ColumnName | None
    customer_id_column: ColumnName | None
    campaign_id_column: ColumnName | None
    assigned_at_column: ColumnName | None
    redeemed_at_column: ColumnName | None
    attribute_columns: list[ColumnName] | None
    judged_at: str
    """When the rows were first read: what is later has not happened yet."""
