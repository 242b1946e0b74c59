"""Texts that callers send and the database keeps."""

from typing import Annotated

from pydantic import StringConstraints

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
"""An id that the caller chose: 1 to 255 characters, no NUL, which PostgreSQL cannot keep."""
