"""Rows of an import that are unlike the rest of its file are set aside, whole."""

from alembic import op

revision = "0025"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute(
        "ALTER TABLE import ADD suspicious bigint DEFAULT 0 NOT NULL,"
        " ADD columns_not_imported text[], ADD choices jsonb"
    )
    op.execute("ALTER TABLE import_reject ADD staged jsonb")


def downgrade() -> None:
    """Take back."""
    op.execute("ALTER TABLE import_reject DROP staged")
    op.execute("ALTER TABLE import DROP suspicious, DROP columns_not_imported, DROP choices")
