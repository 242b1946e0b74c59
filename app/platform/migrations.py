"""The migrations as files: what they say of themselves, without running them."""

import re
from pathlib import Path

import app

FOLDER = Path(app.__file__).parent.parent / "migrations"
_BEFORE = re.compile(r"^down_revision = (.*)$", re.MULTILINE)
_OWN = re.compile(r"^revision = \"(\w+)\"$", re.MULTILINE)
_NAME = re.compile(r"\"(\w+)\"")


def older_versions() -> frozenset[str]:
    """Return the versions that another one of this release comes after.

    Alembic would run each migration to tell, and takes 4 MiB of a process that answers HTTP.
    """
    return frozenset(
        name for text in _texts() for said in _BEFORE.findall(text) for name in _NAME.findall(said)
    )


def versions() -> frozenset[str]:
    """Return all versions that this release knows: its own, and those before."""
    return frozenset(name for text in _texts() for name in _OWN.findall(text))


def _texts() -> list[str]:
    return [file.read_text() for file in (FOLDER / "versions").glob("*.py")]
