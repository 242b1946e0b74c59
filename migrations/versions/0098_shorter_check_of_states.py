"""What a voucher of each state must have, said in half the words: PostgreSQL reads them in each claim."""

from alembic import op

revision = "0098"
down_revision = "0097"
branch_labels = None
depends_on = None

# As it stood when this was written.
SHORTER = """status = CASE
        WHEN voided_at IS NOT NULL THEN 'void'
        WHEN redeemed_at IS NOT NULL THEN 'redeemed'
        WHEN expired_at IS NOT NULL THEN 'expired'
        WHEN assigned_at IS NOT NULL THEN 'assigned'
        WHEN assignment_id IS NOT NULL THEN 'reserved'
        ELSE 'available'::voucher_status
    END
    AND num_nonnulls(redeemed_at, expired_at, voided_at) < 2
    AND ((assignment_id IS NULL) = (assigned_at IS NULL) OR status IN ('reserved', 'void'))
    AND (expired_at IS NULL OR (assignment_id IS NULL AND expires_at IS NOT NULL))"""
BY_STATE = """CASE status
    WHEN 'available' THEN num_nonnulls(assignment_id, assigned_at, redeemed_at, expired_at, voided_at) = 0
    WHEN 'reserved' THEN assignment_id IS NOT NULL
        AND num_nonnulls(assigned_at, redeemed_at, expired_at, voided_at) = 0
    WHEN 'assigned' THEN num_nulls(assignment_id, assigned_at) = 0
        AND num_nonnulls(redeemed_at, expired_at, voided_at) = 0
    WHEN 'redeemed' THEN redeemed_at IS NOT NULL AND num_nonnulls(assignment_id, assigned_at) <> 1
        AND num_nonnulls(expired_at, voided_at) = 0
    WHEN 'expired' THEN num_nulls(expires_at, expired_at) = 0
        AND num_nonnulls(assignment_id, assigned_at, redeemed_at, voided_at) = 0
    WHEN 'void' THEN voided_at IS NOT NULL AND num_nonnulls(redeemed_at, expired_at) = 0
END"""


def upgrade() -> None:
    """Apply."""
    _replace(SHORTER)


def downgrade() -> None:
    """Take back."""
    _replace(BY_STATE)


def _replace(condition: str) -> None:
    """Put one wording in the place of the other: both allow the same rows, and a row that is written meets either.

    What is there is looked through in a transaction of its own, beside whoever reads and writes. Where that breaks
    off, the migration does all of it again.
    """
    op.execute(
        "ALTER TABLE voucher DROP CONSTRAINT voucher_status_check,"
        f" ADD CONSTRAINT voucher_status_check CHECK ({condition}) NOT VALID"
    )
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE voucher VALIDATE CONSTRAINT voucher_status_check")
