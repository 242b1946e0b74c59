"""Brings the database to the present schema. Safe to start at any number of places at once."""

from alembic import command
from alembic.config import Config
from alembic.script.revision import ResolutionError
from alembic.util import CommandError

from app.platform.logs import log
from app.platform.migrations import FOLDER
from app.platform.settings import get_settings


def config(url: str) -> Config:
    """Return the Alembic configuration for one database."""
    settings = Config()
    settings.set_main_option("script_location", str(FOLDER))
    settings.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return settings


def migrate(url: str) -> None:
    """Apply the migrations that the database does not have yet; one that a later release has migrated is left as it is.

    Args:
        url: SQLAlchemy URL of the database.
    """
    try:
        command.upgrade(config(url), "head")
    except CommandError as error:
        unknown = error.__cause__
        if not isinstance(unknown, ResolutionError):
            raise
        log.warning(
            "a later release has migrated the database: it is served as it is", version=unknown.argument
        )


if __name__ == "__main__":
    migrate(get_settings().direct_url)
