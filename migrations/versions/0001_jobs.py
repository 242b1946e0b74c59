"""The job tables, as procrastinate defines them."""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # Many statements in one text: straight to the driver, without parameters.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None  # noqa: S101  (narrows the type)
    driver.execute(SchemaManager.get_schema())


def downgrade() -> None:
    """Take back: the tables hold jobs only, but they are not ours to take apart."""
    raise RuntimeError("the job tables cannot be taken back; drop the database instead")
