"""What callers send: texts that the database keeps, and bodies that say nothing unknown."""

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from app.schema.names import visible


class Input(BaseModel):
    """A body of a request: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


Identifier = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
"""An id that the caller chose: 1 to 255 characters, no NUL, which PostgreSQL cannot keep."""

CampaignId = Annotated[Identifier, AfterValidator(visible)]
"""An id of a campaign, which people read: in NFC, and all of it is seen."""


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON cannot say or PostgreSQL cannot keep: NaN, NUL, half a surrogate pair."""
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
        written.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half a surrogate pair") from error
    except ValueError as error:
        raise ValueError("a number is infinite or not a number") from error
    if _NUL.search(written):
        raise ValueError("a text holds a NUL character")
    return value


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
Properties = Annotated[dict[str, Any], AfterValidator(_storable)]
"""Names and values, any JSON."""
