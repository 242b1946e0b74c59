"""An import knows whether it made its pool, and how far it is fetched; a schedule, when it gave up and who was told."""

from alembic import op

revision = "0060"
down_revision = "0090"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("ALTER TABLE import ADD made_pool boolean DEFAULT false NOT NULL, ADD fetched bigint")
    op.execute("ALTER TABLE import_schedule ADD gave_up_at timestamptz, ADD told_at timestamptz")


def downgrade() -> None:
    """Take back."""
    op.execute("ALTER TABLE import_schedule DROP gave_up_at, DROP told_at")
    op.execute("ALTER TABLE import DROP made_pool, DROP fetched")
