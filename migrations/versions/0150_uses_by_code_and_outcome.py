"""Uses are found by code and outcome in one index: a use that is stored is entered once less.

Each index is made beside whoever reads and writes. Broken off, the migration goes on with what is left.
"""

from alembic import op

from app.platform.indexes import reword

revision = "0150"
down_revision = "0140"
branch_labels = None
depends_on = None

BY_CODE, BY_CODE_AND_OUTCOME = "(project_id, code)", "(project_id, code, outcome)"
DECIDING = "outcome IN ('redeemed', 'not_assigned', 'other_customer', 'cancelled')"


def upgrade() -> None:
    """Apply."""
    reword("redemption_code_idx", BY_CODE, BY_CODE_AND_OUTCOME)
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS redemption_deciding_idx")


def downgrade() -> None:
    """Take back."""
    with op.get_context().autocommit_block():
        op.execute(
            "DROP INDEX CONCURRENTLY IF EXISTS redemption_deciding_idx"
        )  # one that was left unfinished
        op.execute(
            f"CREATE INDEX CONCURRENTLY redemption_deciding_idx ON redemption (project_id, code) WHERE {DECIDING}"
        )
    reword("redemption_code_idx", BY_CODE_AND_OUTCOME, BY_CODE)
