"""`ETag` and `If-Match` (RFC 9110, 8.8.3 and 13.1.1) of what people edit.

A thing's version (`app/platform/versions.py`) goes out as a strong `ETag`; `If-Match` comes back as what is expected,
and the room compares. Nobody keeps replies (`Cache-Control: no-store`), so the tag need not change with counts.
"""

import re
from typing import Annotated

from fastapi import Depends, Header, Request, Response

from app.platform.errors import InvalidRequestError
from app.platform.versions import Expected

TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS = re.compile(rf"\s*,*\s*{TAG}(?:\s*,[\s,]*{TAG})*\s*,*\s*")
NAME = "If-Match"


def expected(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(
            alias=NAME,
            description="`ETag` of the version that was read: 412 if it was changed since. `*` matches any version",
        ),
    ] = None,
) -> Expected | None:
    """Return what the caller expects; None where the request does not say.

    Raises:
        InvalidRequestError: the header is no list of tags.
    """
    if if_match is None:
        return None
    text = ",".join(request.headers.getlist(NAME))
    if text.strip() == "*":
        return Expected()
    if not TAGS.fullmatch(text):
        said = 'entity tags in quotation marks are needed, as `ETag` brings them: "…"; or *'
        raise InvalidRequestError(f"{NAME}: {said}.", [{"loc": ["header", NAME.lower()], "msg": said}])
    # A weak tag matches nothing here: the comparison is the strong one.
    strong = (tag for tag in re.findall(TAG, text) if not tag.startswith("W/"))
    return Expected(frozenset(tag[1:-1] for tag in strong))


IfMatch = Annotated[Expected | None, Depends(expected)]


def tag(response: Response, version: str) -> None:
    """Write the version on a reply."""
    response.headers["ETag"] = f'"{version}"'
