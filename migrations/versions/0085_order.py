"""An order in which the ledger and its changes can be read without a gap."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0085"
down_revision = "0060"
branch_labels = None
depends_on = None

STATUS = postgresql.ENUM(
    "available",
    "reserved",
    "assigned",
    "redeemed",
    "expired",
    "void",
    name="voucher_status",
    create_type=False,
)


def upgrade() -> None:
    """Add two tables."""
    op.create_table(
        "horizon",
        sa.Column("id", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id", name=op.f("horizon_one_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("horizon_pkey")),
    )
    op.create_table(
        "pool_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=True),
        sa.Column("assignment_id", sa.Uuid(), nullable=True),
        sa.Column("before", STATUS, nullable=True),
        sa.Column("after", STATUS, nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("about", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pool_change_pkey")),
    )
    op.create_index("pool_change_changed_at_idx", "pool_change", ["changed_at", "id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("pool_change")
    op.drop_table("horizon")
