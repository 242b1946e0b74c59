"""Traces, where they are asked for: what goes out, and what never does."""

import asyncio
import json
import sys
from unittest.mock import AsyncMock

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.platform import hooks, logs, tracing
from app.platform.settings import Settings
from app.platform.tracing import Traces
from app.server.application import with_hot_path
from app.server.traced import TracedRequests
from tests.factories import KEY, fill
from tests.receivers import Receiver

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch):
    """Traces that stay here, and what was finished of them."""
    exporter = InMemorySpanExporter()
    traces = Traces(exporter)
    monkeypatch.setattr(tracing.current, "traces", traces)

    def finished():
        traces.flush()
        return exporter.get_finished_spans()

    yield finished
    traces.close()


@pytest.fixture
async def traced(app, spans):
    served = TracedRequests(with_hot_path(app), tracing.current.traces)
    headers = {"Authorization": f"Bearer {KEY}"}
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


async def test_a_request_goes_on_with_its_callers_trace_and_tells_no_code(traced, engine, spans):
    (code,) = await fill(engine, "p", ["SECRET-CODE"])
    assert (await traced.get(f"/v1/vouchers/{code}", headers={"traceparent": CALLER})).status_code == 200
    assert (await traced.post("/v1/pools/p/assignments", json={"customer_id": "anna"})).status_code == 201
    assert (await traced.get("/v1/pools/none")).status_code == 404
    known, assigned, _ = finished = spans()
    assert f"{known.context.trace_id:032x}" == CALLER.split("-")[1]
    assert f"{known.parent.span_id:016x}" == CALLER.split("-")[2]
    assert assigned.parent is None
    assert [(span.name, dict(span.attributes)["http.response.status_code"]) for span in finished] == [
        ("GET /v1/vouchers/{code:code}", 200),
        ("POST /v1/pools/{pool}/assignments", 201),
        ("GET /v1/pools/{pool}", 404),
    ]
    told = "".join(span.to_json() for span in finished)
    assert "SECRET-CODE" not in told
    assert "anna" not in told
    assert json.loads(known.to_json())["resource"]["attributes"]["service.name"] == "voucher-pools"


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-00", "ff" * 500])
async def test_a_header_that_is_no_trace_begins_a_new_one(header, traced, spans):
    assert (await traced.get("/health/live", headers={"traceparent": header})).status_code == 200
    (span,) = spans()
    assert span.parent is None


async def test_a_receiver_can_go_on_with_the_trace(spans):
    receiver = Receiver()
    await receiver.up()
    settings = Settings(allowed_hosts=("127.0.0.1",))
    answer = await hooks.post(settings, receiver.url, "msg_1", '{"type": "x"}', [])
    await receiver.down()
    assert answer.status == 204
    (span,) = spans()
    context = f"{span.context.trace_id:032x}-{span.context.span_id:016x}"
    assert receiver.received[0].headers["traceparent"].startswith(f"00-{context}-")
    assert dict(span.attributes) == {"http.request.method": "POST", "server.address": "127.0.0.1"}


async def test_traces_leave_by_otlp():
    receiver = Receiver(status=200)
    await receiver.up()
    traces = Traces(OTLPSpanExporter(endpoint=f"http://127.0.0.1:{receiver.port}/v1/traces"))
    with traces.request({}, "GET") as span:
        traces.answered(span, "GET", "/v1/pools", 500)
    await asyncio.to_thread(traces.close)
    await receiver.down()
    (sent,) = receiver.received
    assert sent.headers["content-type"] == "application/x-protobuf"
    assert b"GET /v1/pools" in sent.body
    assert b"voucher-pools" in sent.body


async def test_the_lines_of_the_log_name_the_trace(spans):
    named = []

    async def app(scope, receive, send):
        named.append(logs._add_ids(None, "info", {"event": "x"})["trace_id"])
        await send({"type": "http.response.start", "status": 204, "headers": []})

    scope = {"type": "http", "method": "GET", "headers": [(b"traceparent", CALLER.encode())]}
    await TracedRequests(app, tracing.current.traces)(scope, None, AsyncMock())
    assert named == [CALLER.split("-")[1]]
    assert logs.trace_id.get() is None


def test_without_the_extra_the_start_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    monkeypatch.setattr(tracing.current, "traces", None)
    for act in (tracing.begin, tracing.check):
        act(Settings())
        with pytest.raises(tracing.CommandError, match=r"voucher-pools\[traces\]"):
            act(Settings(traces=True))
