"""Uses: effects and spelling in the mapping, order of arrival, what decides on a code, marks of erased persons.

Times outside of 1970 to 9999, which earlier releases took from files, are brought to the nearest that can be read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0025"
branch_labels = None
depends_on = None

DECIDING = "outcome IN ('redeemed', 'not_assigned', 'other_customer', 'cancelled')"


def upgrade() -> None:
    """Apply. No table is written anew: new columns are empty for old rows, or have a constant default."""
    op.execute("CREATE SEQUENCE arrival")
    for table in ("event", "redemption"):
        op.add_column(table, sa.Column("arrival", sa.BigInteger(), nullable=True))
        op.alter_column(table, "arrival", server_default=sa.text("nextval('arrival')"))
    op.add_column(
        "redemption_mapping", sa.Column("effect", sa.Text(), server_default="redeem", nullable=False)
    )
    op.add_column("redemption_mapping", sa.Column("normalise", sa.Text(), nullable=True))
    op.add_column("redemption", sa.Column("effect", sa.Text(), server_default="redeem", nullable=False))
    op.add_column("redemption", sa.Column("customer_mark", sa.LargeBinary(), nullable=True))
    op.add_column("assignment", sa.Column("customer_mark", sa.LargeBinary(), nullable=True))
    op.create_table(
        "erasure_key",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("erasure_key_pkey")),
    )
    op.execute("INSERT INTO erasure_key SELECT sha256((gen_random_uuid()::text || gen_random_uuid())::bytea)")
    op.create_table(
        "erased_event",
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("mark", name=op.f("erased_event_pkey")),
    )
    op.create_index("redemption_deciding_idx", "redemption", ["code"], postgresql_where=sa.text(DECIDING))
    op.drop_index("redemption_issue_idx", "redemption")
    op.create_index("redemption_issue_idx", "redemption", ["outcome", "created_at", "id"])
    op.execute(
        "UPDATE voucher SET expires_at = NULL WHERE expires_at >= timestamptz '9999-01-01 00:00:00+00'"
    )
    op.execute(
        "UPDATE voucher SET expires_at = timestamptz '1970-01-01 00:00:00+00'"
        " WHERE expires_at < timestamptz '1970-01-01 00:00:00+00'"
    )
    op.execute("UPDATE hold SET expires_at = NULL WHERE expires_at >= timestamptz '9999-01-01 00:00:00+00'")


def downgrade() -> None:
    """Take back."""
    op.drop_index("redemption_issue_idx", "redemption")
    op.create_index(
        "redemption_issue_idx",
        "redemption",
        ["outcome", "created_at", "id"],
        postgresql_where=sa.text("outcome <> 'redeemed'"),
    )
    op.drop_index("redemption_deciding_idx", "redemption")
    op.drop_table("erased_event")
    op.drop_table("erasure_key")
    op.drop_column("assignment", "customer_mark")
    for column in ("customer_mark", "effect", "arrival"):
        op.drop_column("redemption", column)
    op.drop_column("redemption_mapping", "normalise")
    op.drop_column("redemption_mapping", "effect")
    op.drop_column("event", "arrival")
    op.execute("DROP SEQUENCE arrival")
