"""Brings the database to the present schema. Safe to start at any number of places at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import app

SCRIPTS = Path(app.__file__).parent.parent / "migrations"


def config(url: str) -> Config:
    """Return the Alembic configuration for one database."""
    settings = Config()
    settings.set_main_option("script_location", str(SCRIPTS))
    settings.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return settings


def migrate(url: str) -> None:
    """Apply the migrations that the database does not have yet.

    Args:
        url: SQLAlchemy URL of the database.
    """
    command.upgrade(config(url), "head")
