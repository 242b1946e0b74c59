"""What a connection is told by the protocol itself, before any application is there to answer."""

from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

from app.platform.errors import OverloadedError
from app.platform.stopping import StoppingError
from app.web.problem_document import MEDIA_TYPE, members


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem (RFC 9457) as bytes that end the connection, or leave it open."""

    status: HTTPStatus
    name: str
    detail: str
    retry_after: int | None = None
    raw: bytes = field(init=False)
    raw_and_open: bytes = field(init=False)

    def __post_init__(self) -> None:
        body = orjson.dumps(
            {**members(self.name, self.status.phrase, self.status, self.detail), "instance": None}
        )
        lines = [
            f"HTTP/1.1 {self.status} {self.status.phrase}",
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(body)}",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ]
        if self.retry_after is not None:
            lines.append(f"retry-after: {self.retry_after}")
        object.__setattr__(self, "raw", "\r\n".join([*lines, "connection: close", "", ""]).encode() + body)
        object.__setattr__(self, "raw_and_open", "\r\n".join([*lines, "", ""]).encode() + body)


BAD_REQUEST = Refusal(HTTPStatus.BAD_REQUEST, "bad-request", "This is no HTTP request.")
HEAD_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "header-too-large",
    "The head of a request has at most 64 KiB and 100 lines.",
)
TARGET_TOO_LONG = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG, "target-too-long", "Path and query have at most 8 KiB."
)
TOO_SLOW = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "The request did not come in within its time."
)
TOO_MANY_CONNECTIONS = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too-many-connections",
    "This process, or this address, has all the connections that it may have.",
    retry_after=1,
)
STOPPING = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    StoppingError.name,
    StoppingError().detail,
    retry_after=1,
)
OVERLOADED = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    OverloadedError.name,
    "More requests are under way than this process can answer in time; nothing was taken. Try again.",
    retry_after=1,
)
