"""What a connection is told by the protocol itself, before any application is there to answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

from app.platform.errors import OverloadedError
from app.platform.stopping import StoppingError
from app.web import trackers
from app.web.problem_document import MEDIA_TYPE, members


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem (RFC 9457), or what trackers read in its stead, as bytes that end the connection or leave it open."""

    status: HTTPStatus
    name: str
    detail: str
    retry_after: int | None = None
    _raw: Mapping[tuple[bool, bool], bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problem = {**members(self.name, self.status.phrase, self.status, self.detail), "instance": ""}
        _, failure = trackers.errors_of(self.status, self.detail, {})
        bodies = {False: (MEDIA_TYPE, problem), True: ("application/json", failure)}
        raw = {
            (tracked, stays): self._written(*bodies[tracked], stays=stays)
            for tracked in bodies
            for stays in (False, True)
        }
        object.__setattr__(self, "_raw", raw)

    def raw(self, path: str, *, stays: bool = False) -> bytes:
        """Return what answers a request of this path, empty where none was read; `stays` leaves the connection open."""
        return self._raw[path.startswith(trackers.PREFIX), stays]

    def _written(self, media_type: str, told: Mapping[str, object], *, stays: bool) -> bytes:
        body = orjson.dumps(told)
        lines = [
            f"HTTP/1.1 {self.status} {self.status.phrase}",
            f"content-type: {media_type}",
            f"content-length: {len(body)}",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ]
        if self.retry_after is not None:
            lines.append(f"retry-after: {self.retry_after}")
        if not stays:
            lines.append("connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + body


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
