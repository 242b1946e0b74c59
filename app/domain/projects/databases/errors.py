"""Errors of databases."""

from app.platform.errors import CommandError, DomainError


class DatabaseNotFoundError(DomainError):
    """No database of this name was added."""

    status, name, title = 404, "database-not-found", "There is no such database"

    def __init__(self, database: str) -> None:
        super().__init__(f"There is no database named {database[:100]!r}.", database=database[:100])


class DatabaseDrainingError(DomainError):
    """No new project is put into this database."""

    status, name, title = 409, "database-draining", "The database takes no new projects"

    def __init__(self, database: str) -> None:
        super().__init__(f"Database {database!r} is drained: it takes no new projects.", database=database)


class DatabaseNotOursError(CommandError):
    """A database holds what is not this service's, or is this service's already under another name."""
