"""Many vouchers are changed at once, and why a voucher was changed is kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0090"
down_revision = "0017"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "bulk_change",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("filter", postgresql.JSONB(), nullable=False),
        sa.Column("pool_id", sa.BigInteger()),
        sa.Column("customer_ids", postgresql.ARRAY(sa.Text())),
        sa.Column("expires_at", TIME),
        sa.Column("reason", sa.Text()),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("key_id", sa.Uuid()),
        sa.Column("key_name", sa.Text()),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("total", sa.BigInteger()),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("changed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("skipped", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name="bulk_change_pkey"),
    )
    op.create_index("bulk_change_created_at_idx", "bulk_change", ["created_at"])
    op.create_table(
        "bulk_change_code",
        sa.Column("change_id", sa.Uuid(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("change_id", "n", name="bulk_change_code_pkey"),
        sa.ForeignKeyConstraint(
            ["change_id"], ["bulk_change.id"], name="bulk_change_code_change_id_fkey", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "voucher_note",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("change_id", sa.Uuid()),
        sa.Column("assignment_id", sa.Uuid()),
        sa.Column("expires_at", TIME),
        sa.PrimaryKeyConstraint("id", name="voucher_note_pkey"),
    )
    op.create_index("voucher_note_code_idx", "voucher_note", ["code"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("voucher_note")
    op.drop_table("bulk_change_code")
    op.drop_table("bulk_change")
