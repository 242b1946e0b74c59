"""What nearly every row says takes few bytes of it, or none: no large table is written, rows that are there stay.

In the ledger, occurrence 0 and no test are null from now on. A voucher names its import by a number, and leaves out
when it came where that is when its import began. Each lock is held for a moment, of one table at a time.
"""

from alembic import op

revision = "0151"
down_revision = "0150"
branch_labels = None
depends_on = None

STEPS = (
    """ALTER TABLE assignment ALTER occurrence DROP NOT NULL, ALTER occurrence DROP DEFAULT,
        ALTER test DROP NOT NULL, ALTER test DROP DEFAULT""",
    """ALTER TABLE import ADD COLUMN IF NOT EXISTS number integer NOT NULL GENERATED ALWAYS AS IDENTITY""",
    """CREATE UNIQUE INDEX IF NOT EXISTS import_number_idx ON import (project_id, number)""",
    """ALTER TABLE voucher ADD COLUMN IF NOT EXISTS import_number integer, ALTER imported_at DROP NOT NULL""",
)


def upgrade() -> None:
    """Apply. What was done before an interruption is done again, and changes nothing."""
    with op.get_context().autocommit_block():
        for step in STEPS:
            op.execute(step)


def downgrade() -> None:
    """Take back; the values are filled in."""
    op.execute("""
        UPDATE voucher SET import_id = import.id, imported_at = coalesce(imported_at, started_at, import.created_at)
        FROM import WHERE (import.project_id, import.number) = (voucher.project_id, voucher.import_number)""")
    op.execute("ALTER TABLE voucher DROP COLUMN import_number, ALTER imported_at SET NOT NULL")
    op.execute("ALTER TABLE import DROP COLUMN number")
    op.execute("""
        UPDATE assignment SET occurrence = coalesce(occurrence, 0), test = coalesce(test, false)
        WHERE occurrence IS NULL OR test IS NULL""")
    op.execute("""
        ALTER TABLE assignment ALTER occurrence SET DEFAULT 0, ALTER occurrence SET NOT NULL,
            ALTER test SET DEFAULT false, ALTER test SET NOT NULL""")
