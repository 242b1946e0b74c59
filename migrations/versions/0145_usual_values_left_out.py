"""What nearly every row of the ledger says takes no byte of it: occurrence 0 and no test are null from now on.

No row is written; rows that are there keep their values, and either is read the same.
"""

from alembic import op

revision = "0145"
down_revision = "0140"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("""
        ALTER TABLE assignment ALTER occurrence DROP NOT NULL, ALTER occurrence DROP DEFAULT,
            ALTER test DROP NOT NULL, ALTER test DROP DEFAULT""")


def downgrade() -> None:
    """Take back; the values are filled in."""
    op.execute("""
        UPDATE assignment SET occurrence = coalesce(occurrence, 0), test = coalesce(test, false)
        WHERE occurrence IS NULL OR test IS NULL""")
    op.execute("""
        ALTER TABLE assignment ALTER occurrence SET DEFAULT 0, ALTER occurrence SET NOT NULL,
            ALTER test SET DEFAULT false, ALTER test SET NOT NULL""")
