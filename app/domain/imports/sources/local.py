"""Files of this machine that imports may read."""

from pathlib import Path

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources.limits import Limits

NO_FILE = (
    "There is no such file in the folder that imports may read; a path is relative to it, as in file:a.csv."
)


def path_in(settings: Limits, path: str) -> Path:
    """Return a path in the folder that imports may read, whether or not a file is there.

    Raises:
        UnreadableError: it leads elsewhere, or there is no such folder.
    """
    folder = settings.import_folder
    if folder is None:
        raise UnreadableError("Files of this machine may not be read; VOUCHERS_IMPORT_FOLDER is not set.")
    try:
        found = (folder / path).resolve()
    except (ValueError, RuntimeError):  # a NUL, or links that lead to each other
        raise UnreadableError(NO_FILE) from None
    if folder.resolve() not in found.parents:
        raise UnreadableError(NO_FILE)
    return found


def inside(settings: Limits, path: str) -> Path:
    """Return a file in the folder that imports may read.

    Raises:
        UnreadableError: there is none, or no such folder.
    """
    found = path_in(settings, path)
    if not found.is_file():
        raise UnreadableError(NO_FILE)
    return found
