"""The tables, their constraints and indexes.

`voucher` is the inventory, `assignment` the ledger, `stock` the counts that follow from the inventory. The hot tables
bear no foreign keys (docs/decisions/0003): each would cost a look-up per row, and `vouchers check` proves the same.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    DateTime,
    Enum,
    Index,
    LargeBinary,
    MetaData,
    Text,
    column,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase


class VoucherStatus(StrEnum):
    """The states of a voucher."""

    AVAILABLE = "available"
    RESERVED = "reserved"
    ASSIGNED = "assigned"
    REDEEMED = "redeemed"
    EXPIRED = "expired"
    VOID = "void"


class ImportStatus(StrEnum):
    """The states of an import."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def _values(states: type[StrEnum]) -> list[str]:
    return [state.value for state in states]


class Base(DeclarativeBase):
    """The common ground of all tables: how constraints are named and Python types become columns."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        },
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it as it stands)
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, object]: JSONB,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(BigInteger),
        VoucherStatus: Enum(VoucherStatus, name="voucher_status", values_callable=_values),
        ImportStatus: Enum(ImportStatus, name="import_status", values_callable=_values),
    }


def alike_indexes(table: str) -> tuple[Index, Index]:
    """Return the indexes of a table's names that a misspelt one is looked up by: from the front and from the back."""
    lower, ops = func.lower(column("name")), {"key": "text_pattern_ops"}
    return (
        Index(f"{table}_alike_idx", lower.label("key"), postgresql_ops=ops),
        Index(f"{table}_alike_back_idx", func.reverse(lower).label("key"), postgresql_ops=ops),
    )
