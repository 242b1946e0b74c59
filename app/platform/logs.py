"""Structured logs, one JSON object a line, each with the id of its request; never a code, a key or a raw path."""

import asyncio
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from io import RawIOBase
from typing import BinaryIO

import orjson
import structlog
from structlog.typing import EventDict

log = structlog.get_logger()
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that is being answered, for its log lines and its problem."""
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""Id of its trace, where traces are made."""
project_id: ContextVar[int | None] = ContextVar("project_id", default=None)
"""Id of the project in which something is done, for its log lines."""


def configure(level: str) -> None:
    """Send the logs of this process, the libraries' included, to standard error from `level` on."""
    structlog.configure(
        processors=[
            _add_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(LogStream(sys.stderr.buffer)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelNamesMapping()[level]), force=True)


class LogStream:
    """Where the log goes. What cannot be written is lost, and told later: it fails no request and stops no process.

    A disk may be full, and whoever reads a pipe may be gone.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._raw: BinaryIO | RawIOBase = getattr(stream, "raw", stream)  # a buffer would keep what failed
        self._lost = 0

    def write(self, lines: bytes) -> None:
        """Write whole lines."""
        try:
            if self._lost:
                self._all(_lost_line(self._lost))
                self._lost = 0
            self._all(lines)
        except (OSError, ValueError):  # ValueError: it is closed
            self._lost += lines.count(b"\n") or 1

    def flush(self) -> None:
        """Do nothing: whatever was written is."""

    def _all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = self._raw.write(left)
            if not written:
                raise OSError
            left = left[written:]


def _lost_line(lines: int) -> bytes:
    event = {"event": "lines of the log were lost", "lines": lines, "level": "warning"}
    return orjson.dumps(
        {**event, "timestamp": datetime.now(UTC)},  # noqa: TID251  (the machine's, as all its logs)
        option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE,
    )


class RequestLines:
    """The log's lines of requests: those that are answered in one turn of the event loop leave in one write.

    They are made as `log.info("request", …)` would make them, at a fraction of the cost.
    """

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = LogStream(stream or sys.stderr.buffer)
        self._lines: list[bytes] = []

    def add(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        request: str | None,
        project: int | None,
    ) -> None:
        """Log that a request was answered with `status` after so many seconds.

        `request` is its id, and `project` that of the project in which it was.
        """
        line: dict[str, object] = {
            "method": method,
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
            "event": "request",
            "request_id": request,
            "level": "info",
            "timestamp": datetime.now(UTC),  # noqa: TID251
        }
        if (trace := trace_id.get()) is not None:
            line["trace_id"] = trace
        if project is not None:
            line["project"] = project
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        self._stream.write(b"".join(lines))


def _add_ids(_logger: object, _level: str, event: EventDict) -> EventDict:
    current = request_id.get()
    if current is not None:
        event["request_id"] = current
    if (trace := trace_id.get()) is not None:
        event["trace_id"] = trace
    if (project := project_id.get()) is not None:
        event.setdefault("project", project)
    return event
