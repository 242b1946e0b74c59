"""Ids of audit entries are no number of all projects any more: its gaps would tell how much others do."""

from alembic import op

revision = "0111"
down_revision = "0110"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Those that are there keep theirs; later ones are greater."""
    op.execute("ALTER TABLE audit_entry ALTER id DROP IDENTITY")


def downgrade() -> None:
    """Take back."""
    op.execute("ALTER TABLE audit_entry ALTER id ADD GENERATED ALWAYS AS IDENTITY")
    op.execute(
        "SELECT setval(pg_get_serial_sequence('audit_entry', 'id'), coalesce(max(id), 0) + 1) FROM audit_entry"
    )
