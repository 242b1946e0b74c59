"""What decides on a code beside its redemption, which has an index of its own: uses are entered in one index less."""

from app.platform.indexes import reword

revision = "0150"
down_revision = "0140"
branch_labels = None
depends_on = None

WITH_REDEEMED, OTHERS = "ARRAY['redeemed'::text, 'not_assigned'::text", "ARRAY['not_assigned'::text"


def upgrade() -> None:
    """Apply."""
    reword("redemption_deciding_idx", WITH_REDEEMED, OTHERS)


def downgrade() -> None:
    """Take back."""
    reword("redemption_deciding_idx", OTHERS, WITH_REDEEMED)
