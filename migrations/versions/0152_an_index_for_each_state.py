"""What is available, what is assigned and the rest have an index each: most entries need not tell their state then.

Each is built beside the work of the table; then the one that was for all gives way in a moment. A statement that reads
a whole pool has to say that it wants all three (ANY_STATE). Imports that are under way begin anew: their shares are
dealt otherwise now, and what they brought counts as ignored.
"""

from alembic import op

from app.platform.indexes import build, reword

revision = "0152"
down_revision = "0151"
branch_labels = None
depends_on = None

ALL, AVAILABLE = "(pool_id, status, draw_key)", "(pool_id, draw_key) WHERE (status = 'available'::text)"
NEW = {
    "voucher_assigned_idx": "voucher (pool_id) WHERE status = 'assigned'",
    "voucher_ended_idx": """voucher (pool_id, status, draw_key)
        WHERE status <> 'available' AND status <> 'assigned'""",
}
BEGIN_ANEW = """
UPDATE import SET merged_to = NULL, imported = 0, ignored = 0, in_other_pool = 0, conflicting = 0
WHERE status = 'running' AND merged_to IS NOT NULL
"""


def upgrade() -> None:
    """Apply."""
    op.execute("SET maintenance_work_mem = '256MB'")
    for name, on in NEW.items():
        build(name, on)
    reword("voucher_draw_idx", ALL, AVAILABLE)
    op.execute("RESET maintenance_work_mem")
    op.execute(BEGIN_ANEW)


def downgrade() -> None:
    """Take back."""
    op.execute(BEGIN_ANEW)
    reword("voucher_draw_idx", AVAILABLE, ALL)
    for name in NEW:
        op.execute(f"DROP INDEX IF EXISTS {name}")
