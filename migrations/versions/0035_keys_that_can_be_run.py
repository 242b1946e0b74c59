"""Keys have an expiry, a last use, a limit and a secret before the last; a place for the sealing key."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns without default, which rewrites nothing, and a table of one row."""
    for name, kind in (
        ("expires_at", sa.DateTime(timezone=True)),
        ("last_used_at", sa.DateTime(timezone=True)),
        ("requests_per_minute", sa.BigInteger()),
        ("previous_prefix", sa.LargeBinary()),
        ("previous_digest", sa.LargeBinary()),
        ("previous_until", sa.DateTime(timezone=True)),
    ):
        op.add_column("api_key", sa.Column(name, kind, nullable=True))
    op.create_index(
        "api_key_previous_prefix_idx",
        "api_key",
        ["previous_prefix"],
        postgresql_where=sa.text("previous_prefix IS NOT NULL"),
    )
    op.create_table(
        "sealing_key",
        sa.Column("id", sa.Boolean(), server_default=sa.text("true"), primary_key=True),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("id", name=op.f("sealing_key_one_check")),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("sealing_key")
    op.drop_index("api_key_previous_prefix_idx", "api_key")
    for name in (
        "previous_until",
        "previous_digest",
        "previous_prefix",
        "requests_per_minute",
        "last_used_at",
        "expires_at",
    ):
        op.drop_column("api_key", name)
