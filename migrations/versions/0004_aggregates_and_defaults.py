"""Aggregates over events, and the defaults that messages showed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "aggregate",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("property", sa.Text(), nullable=True),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column(
            "where", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.CheckConstraint("function IN ('last', 'first', 'count')", name=op.f("aggregate_function_check")),
        sa.PrimaryKeyConstraint("name", name=op.f("aggregate_pkey")),
    )
    op.create_table(
        "message_default",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("message_default_pkey")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("message_default")
    op.drop_table("aggregate")
