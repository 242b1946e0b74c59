"""What each state of a voucher must have; redemptions by event and property; holds."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

VOUCHER_COLUMNS = """CASE status
    WHEN 'available' THEN num_nonnulls(assignment_id, assigned_at, redeemed_at, expired_at, voided_at) = 0
    WHEN 'reserved' THEN assignment_id IS NOT NULL AND num_nonnulls(assigned_at, redeemed_at, expired_at, voided_at) = 0
    WHEN 'assigned' THEN num_nulls(assignment_id, assigned_at) = 0 AND num_nonnulls(redeemed_at, expired_at, voided_at) = 0
    WHEN 'redeemed' THEN redeemed_at IS NOT NULL AND num_nonnulls(assignment_id, assigned_at) <> 1
        AND num_nonnulls(expired_at, voided_at) = 0
    WHEN 'expired' THEN num_nulls(expires_at, expired_at) = 0
        AND num_nonnulls(assignment_id, assigned_at, redeemed_at, voided_at) = 0
    WHEN 'void' THEN voided_at IS NOT NULL AND num_nonnulls(redeemed_at, expired_at) = 0
END"""


def upgrade() -> None:
    """Apply."""
    op.add_column("voucher", sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("voucher", sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("voucher_status_check"), "voucher", VOUCHER_COLUMNS)
    op.create_index(
        "voucher_expiry_idx",
        "voucher",
        ["expires_at"],
        postgresql_where=sa.text("status = 'available' AND expires_at IS NOT NULL"),
    )
    op.create_index(
        "assignment_lease_idx",
        "assignment",
        ["lease_until"],
        postgresql_where=sa.text("lease_until IS NOT NULL"),
    )
    op.add_column("redemption", sa.Column("property", sa.Text(), nullable=True))
    op.alter_column("redemption", "code", nullable=True)
    op.drop_index(op.f("redemption_event_id_idx"), table_name="redemption")
    op.create_index("redemption_event_idx", "redemption", ["event_id", "property"], unique=True)
    op.create_index(
        "redemption_customer_idx",
        "redemption",
        ["customer_id"],
        postgresql_where=sa.text("customer_id IS NOT NULL"),
    )
    op.create_index(
        "redemption_issue_idx",
        "redemption",
        ["outcome", "created_at", "id"],
        postgresql_where=sa.text("outcome <> 'redeemed'"),
    )
    op.add_column("stock", sa.Column("holds", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "hold",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("drawn", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("size > 0 AND drawn BETWEEN 0 AND size", name=op.f("hold_drawn_check")),
        sa.ForeignKeyConstraint(["pool_id"], ["pool.id"], name=op.f("hold_pool_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("hold_pkey")),
        sa.UniqueConstraint("pool_id", "campaign_id", name=op.f("hold_pool_id_campaign_id_key")),
    )


def downgrade() -> None:
    """Take back; redemptions without a code are lost, for the tables before have no place for them."""
    op.drop_table("hold")
    op.drop_column("stock", "holds")
    op.drop_index("redemption_issue_idx", table_name="redemption")
    op.drop_index("redemption_customer_idx", table_name="redemption")
    op.drop_index("redemption_event_idx", table_name="redemption")
    op.create_index(op.f("redemption_event_id_idx"), "redemption", ["event_id"])
    op.execute("DELETE FROM redemption WHERE code IS NULL")
    op.alter_column("redemption", "code", nullable=False)
    op.drop_column("redemption", "property")
    op.drop_index("assignment_lease_idx", table_name="assignment")
    op.drop_index("voucher_expiry_idx", table_name="voucher")
    op.drop_constraint(op.f("voucher_status_check"), "voucher")
    op.drop_column("voucher", "voided_at")
    op.drop_column("voucher", "expired_at")
