"""Row-level security: the service's role sees and writes the rows of the project that its transaction names."""

from alembic import op
from sqlalchemy import text

from app.platform.errors import CommandError
from app.platform.row_security import ensure_role, lift, secure

revision = "0105"
down_revision = "0104"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    ensure_role(op.get_bind())
    with (
        op.get_context().autocommit_block()
    ):  # to wait for one table's lock with another's is how one meets a deadlock
        secure(op.get_bind())


def downgrade() -> None:
    """Take back, where there is but one project: the release before would take all rows for one shop's."""
    if op.get_bind().scalar(text("SELECT count(*) FROM project")) != 1:
        raise CommandError("There are several projects: delete all but `default` before you go back.")
    lift(op.get_bind())
