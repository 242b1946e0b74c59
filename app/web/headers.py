"""Headers of replies, as the document describes them."""

from typing import TypeAlias

Responses: TypeAlias = dict[int | str, dict[str, object]]
"""What the framework takes as a route's `responses=`."""
HEADERS: dict[str, dict[str, object]] = {
    "Data-Age": {
        "description": "How many seconds old at the most the reply is, where a standby of the database made it; absent"
        " where the database itself did, whose replies are current",
        "schema": {"type": "integer"},
    },
    "Deprecation": {
        "description": "Since when something that the request used is deprecated (RFC 9745)",
        "schema": {"type": "string"},
    },
    "ETag": {"description": "Version of what can be edited, for `If-Match`", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "`true`: the same request came before, and this is its reply",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Link": {
        "description": 'The next page (RFC 8288): `<…?cursor=…>; rel="next"`; not on the last one',
        "schema": {"type": "string"},
    },
    "Location": {"description": "Path of what was made", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "How much of `Prefer` was kept to (RFC 7240)",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait before the next try", "schema": {"type": "integer"}},
    "Sunset": {"description": "When it ends (RFC 8594)", "schema": {"type": "string"}},
    "WWW-Authenticate": {
        "description": "How to authenticate: `Bearer` (RFC 6750)",
        "schema": {"type": "string"},
    },
    "X-Request-Id": {
        "description": "Id of the request, as in the log; taken from the request where it has one."
        " Missing where it was refused unread",
        "schema": {"type": "string"},
    },
}


def bearing(status: int, *names: str) -> Responses:
    """Return the `responses=` of a route whose replies of this status bear these headers."""
    return {status: {"headers": {name: HEADERS[name] for name in names}}}
