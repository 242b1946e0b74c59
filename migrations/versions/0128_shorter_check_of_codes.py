"""What a code must be, said in fewer words: PostgreSQL reads them in each claim.

That none is longer than 255 characters is seen to where codes come in.
"""

from alembic import op

revision = "0128"
down_revision = "0121"
branch_labels = None
depends_on = None

SHORTER = "code <> ''"
LENGTHS = "char_length(code) BETWEEN 1 AND 255"


def upgrade() -> None:
    """Apply."""
    _replace(SHORTER)


def downgrade() -> None:
    """Take back."""
    _replace(LENGTHS)


def _replace(condition: str) -> None:
    """Put one wording in the place of the other; what is there is looked through beside whoever reads and writes.

    Where that breaks off, the migration does all of it again.
    """
    op.execute(
        "ALTER TABLE voucher DROP CONSTRAINT voucher_code_check,"
        f" ADD CONSTRAINT voucher_code_check CHECK ({condition}) NOT VALID"
    )
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE voucher VALIDATE CONSTRAINT voucher_code_check")
