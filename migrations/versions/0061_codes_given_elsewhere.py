"""An import counts the codes that were given elsewhere and are somebody else's here."""

from alembic import op

revision = "0061"
down_revision = "0095"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("ALTER TABLE import ADD conflicting bigint DEFAULT 0 NOT NULL")


def downgrade() -> None:
    """Take back."""
    op.execute("ALTER TABLE import DROP conflicting")
