"""Codes that come into their pool at a time."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0063"
down_revision = "0096"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "coming_voucher",
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("draw_key", sa.BigInteger(), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pool.id"], name=op.f("coming_voucher_pool_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("code", name=op.f("coming_voucher_pkey")),
    )
    op.create_index("coming_voucher_valid_from_idx", "coming_voucher", ["valid_from"])
    op.create_index("coming_voucher_import_idx", "coming_voucher", ["import_id"])
    op.create_index("coming_voucher_pool_idx", "coming_voucher", ["pool_id"])
    op.execute("ALTER TABLE import ADD scheduled bigint DEFAULT 0 NOT NULL")


def downgrade() -> None:
    """Take back; codes that have not come yet are lost with the table, so there must be none."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM coming_voucher) THEN RAISE EXCEPTION 'codes are to come'; END IF; END $$"
    )
    op.execute("ALTER TABLE import DROP scheduled")
    op.drop_table("coming_voucher")
