"""What is in `deploy/` fits the service: every metric that a dashboard or a rule names is one of `/metrics`."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.factories import fill
from tests.worker import eventually

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
FROM_PROMETHEUS = {"up"}
_NAME = re.compile(r"\b(?:vouchers|http_server|db_client|process)_[a-z_]+\b")
_LABELS = re.compile(r'\{[^}"]*(?:"[^"]*"[^}"]*)*\}|by \([^)]*\)|on \([^)]*\)')


def expressions():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
    yield from (rule["expr"] for group in rules["groups"] for rule in group["rules"])
    dashboard = json.loads((DEPLOY / "grafana" / "vouchers.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


@pytest.fixture
async def families(client, engine):
    await fill(engine, "p", 5)
    await client.post("/v1/pools/p/assignments", json={})
    await client.post("/v1/pools/none/assignments", json={})
    letter = {"template": "{{ vouchers['p'].assign_available() }}", "channel": "sms"}

    async def rendered():  # the first one has to start a process
        return (await client.post("/v1/render", json=letter)).status_code == 200

    await eventually(rendered)
    shown = (await client.get("/metrics")).text
    return {family.name: family for family in text_string_to_metric_families(shown)}


async def test_every_metric_that_is_asked_for_is_there_with_its_labels(families):
    names = set()
    labels = {}
    for family in families.values():
        names |= {family.name} | {sample.name for sample in family.samples}
        if family.type == "counter":
            names.add(f"{family.name}_total")
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    asked = list(expressions())
    assert len(asked) > 25
    for expression in asked:
        found = set(_NAME.findall(_LABELS.sub("", expression)))
        assert found or "up{" in expression, expression
        assert found <= names, (expression, found - names)
        for name, matched in re.findall(r"\b([a-z_]+)\{([^}\"]*=)", expression):
            if name not in FROM_PROMETHEUS:
                assert matched.rstrip("=~!") in labels[name], expression


async def test_what_an_operator_must_see_is_told(families):
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["vouchers_stock", "available", "p"] == 3
    assert values["vouchers_held", "p"] == 0
    assert values["vouchers_stock_cut",] == 0
    assert values["vouchers_drawn_total",] >= 2
    assert values["vouchers_renders_total", "rendered", "send"] >= 1
    assert values["vouchers_jobs_waiting", "urgent"] == 0
    assert values["vouchers_workers",] == 0
    assert values["vouchers_imports_under_way",] == 0
    assert values["db_client_connection_max", "assigns"] > 0
    assert any(name[0] == "vouchers_build_info" for name in values)


async def test_methods_that_a_stranger_invents_make_no_families(client):
    for method in ("PROPFIND", "REPORT", "X1"):
        await client.request(method, "/v1/pools")
    shown = (await client.get("/metrics")).text
    assert 'http_request_method="_OTHER"' in shown
    assert "PROPFIND" not in shown
