"""Traces by OpenTelemetry, where `VOUCHERS_TRACES` asks for them; its SDK is the extra `traces`.

Where traces go, how many of them, and under which name, is set by the variables that OpenTelemetry defines (`OTEL_…`).
A span holds no path, no parameter and no body: a route's template, a status, a host.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from app.platform.errors import CommandError
from app.platform.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

SERVICE = "voucher-pools"
_MISSING = "VOUCHERS_TRACES needs more packages: pip install 'voucher-pools[traces]'."


class Traces:
    """The traces of one process."""

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        """Begin to send traces.

        Args:
            exporter: takes them; by default OTLP over HTTP.

        Raises:
            CommandError: the extra is not installed.
        """
        try:
            from opentelemetry import trace  # noqa: PLC0415  (an extra; it costs time and memory)
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
                TraceContextTextMapPropagator,
            )
        except ImportError:
            raise CommandError(_MISSING) from None
        named = Resource({"service.name": SERVICE, "service.version": version(SERVICE)})
        self._provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE, version(SERVICE))
        self._context = TraceContextTextMapPropagator()
        self._kinds = trace.SpanKind
        self._failed = trace.Status(trace.StatusCode.ERROR)

    @contextmanager
    def request(self, headers: Mapping[str, str], method: str) -> Iterator["Span"]:
        """Give the span of a request that came in; it goes on with the trace that its headers name."""
        with self._tracer.start_as_current_span(
            method,
            self._context.extract(headers),
            self._kinds.SERVER,
            {"http.request.method": method},
            record_exception=False,  # its text may hold codes
            set_status_on_exception=False,
        ) as span:
            yield span

    @contextmanager
    def sending(self, host: str) -> Iterator[dict[str, str]]:
        """Give the headers that let a receiver go on with the trace of what is sent to it."""
        about = {"http.request.method": "POST", "server.address": host}
        headers: dict[str, str] = {}
        with self._tracer.start_as_current_span(
            "POST",
            kind=self._kinds.CLIENT,
            attributes=about,
            record_exception=False,
            set_status_on_exception=False,
        ):
            self._context.inject(headers)
            yield headers

    def answered(self, span: "Span", method: str, route: str | None, status: int) -> None:
        """Tell what a request was and how it was answered."""
        if route is not None:
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:  # noqa: PLR2004
            span.set_status(self._failed)

    def flush(self) -> None:
        """Send what waits."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what waits, and end."""
        self._provider.shutdown()


class _Current:
    """The traces of this process, if it makes any."""

    traces: Traces | None = None


current = _Current()


def check(settings: Settings) -> None:
    """Refuse settings that ask for traces where the extra is not installed, before any process is started.

    Raises:
        CommandError: it is not.
    """
    with suppress(ModuleNotFoundError):  # of what holds it
        if not settings.traces or find_spec("opentelemetry.sdk") is not None:
            return
    raise CommandError(_MISSING)


def begin(settings: Settings) -> None:
    """Begin to make traces, where the settings ask for them.

    Raises:
        CommandError: the extra is not installed.
    """
    if settings.traces and current.traces is None:
        current.traces = Traces()


@contextmanager
def sending(host: str) -> Iterator[dict[str, str]]:
    """Give further headers for what is sent to others; none where no traces are made."""
    if current.traces is None:
        yield {}
        return
    with current.traces.sending(host) as headers:
        yield headers
