"""Replies to keyed requests are kept for a while, to answer the same request again."""

import sqlalchemy as sa
from alembic import op

revision = "0080"
down_revision = "0093"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "kept_reply",
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("kept_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "idempotency_key", name=op.f("kept_reply_pkey")),
    )
    op.create_index("kept_reply_kept_at_idx", "kept_reply", ["kept_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("kept_reply")
