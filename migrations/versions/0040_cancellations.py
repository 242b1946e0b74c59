"""A cancellation takes back one use; whether one was heard of a code is found by an index.

Earlier releases took back all uses of a code at once, but left those that came too late as they were: they are
marked as taken back, too, where the code is not used any more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0085"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply: the index is read off a scan, and only codes with a cancellation are touched."""
    op.create_index(
        "redemption_cancel_idx", "redemption", ["code"], postgresql_where=sa.text("effect = 'cancel'")
    )
    op.execute("""
        UPDATE redemption SET outcome = 'cancelled'
        FROM redemption AS cancellation JOIN voucher ON voucher.code = cancellation.code
        WHERE cancellation.effect = 'cancel' AND cancellation.outcome = 'cancelled'
            AND voucher.status <> 'redeemed' AND redemption.code = cancellation.code
            AND redemption.effect = 'redeem' AND redemption.outcome = 'already_redeemed'
    """)


def downgrade() -> None:
    """Take back."""
    op.drop_index("redemption_cancel_idx", "redemption")
