"""Files of this machine that imports may read."""

from pathlib import Path

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources.limits import Limits


def inside(settings: Limits, path: str) -> Path:
    """Return a path in the folder that imports may read.

    Raises:
        UnreadableError: it leads elsewhere, or there is no such folder.
    """
    folder = settings.import_folder
    if folder is None:
        raise UnreadableError("Files of this machine may not be read; VOUCHERS_IMPORT_FOLDER is not set.")
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise UnreadableError(
            "There is no such file in the folder that imports may read; a path is relative to it, as in file:a.csv."
        )
    return found
