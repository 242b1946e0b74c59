"""The tables, their constraints and indexes.

`voucher` is the inventory, `assignment` the ledger, `stock` the counts that follow from the inventory. The hot tables
bear no foreign keys (docs/decisions/0003): each would cost a look-up per row, and `vouchers check` proves the same.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from sqlalchemy import (
    BigInteger,
    Computed,
    DateTime,
    Dialect,
    Enum,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column


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


class StatusText(TypeDecorator[VoucherStatus]):
    """A voucher's status, kept as text: row-level security lets no index serve an enum's `=`, which may leak."""

    impl = Text
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(collation="C")

    def process_bind_param(self, value: VoucherStatus | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return what is kept."""
        return None if value is None else VoucherStatus(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> VoucherStatus | None:  # noqa: ARG002
        """Return what was kept."""
        return None if value is None else VoucherStatus(value)


PoolId = Annotated[int, mapped_column(Integer)]
"""A pool's id, within its project: four bytes, as its project's."""

ALIKE = Computed("lower(name)", persisted=True)
ALIKE_BACK = Computed("reverse(lower(name))", persisted=True)
"""A name as a misspelt one is looked up by, from the front and from the back. They are columns, for row-level security
lets no index serve what a function such as `lower` makes of a row, which may leak."""


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
        VoucherStatus: StatusText(),
        ImportStatus: Enum(ImportStatus, name="import_status", values_callable=_values),
    }


def alike_indexes(table: str) -> tuple[Index, Index]:
    """Return the indexes of a table's names that a misspelt one is looked up by: from the front and from the back."""
    return (
        Index(f"{table}_alike_idx", "project_id", "alike", postgresql_ops={"alike": "text_pattern_ops"}),
        Index(
            f"{table}_alike_back_idx",
            "project_id",
            "alike_back",
            postgresql_ops={"alike_back": "text_pattern_ops"},
        ),
    )
