"""What is in `deploy/` fits the service: metrics, commands, settings and probes that it names are there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from typer.main import get_command

from app.cli.main import cli
from app.platform.settings import Settings
from tests.factories import fill
from tests.worker import eventually

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
FROM_PROMETHEUS = {"up"}
_NAME = re.compile(r"\b(?:vouchers|http_server|db_client|process)_[a-z_]+\b")
_LABELS = re.compile(r'\{[^}"]*(?:"[^"]*"[^}"]*)*\}|by \([^)]*\)|on \([^)]*\)')
_AGGREGATION = re.compile(r"\b(?:sum|min|max|count)(?: by \([^)]*\))? ?\(")


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


def test_a_primary_that_cannot_reach_etcd_steps_down_before_another_may_be_promoted():
    node = yaml.safe_load((DEPLOY / "patroni" / "patroni.yaml").read_text())
    kept = node["bootstrap"]["dcs"]
    assert kept["loop_wait"] + 2 * kept["retry_timeout"] <= kept["ttl"]
    assert kept["synchronous_mode"]


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


def besides_aggregations(expression):
    """What of an expression stands in no `sum`, `min` and the like."""
    while found := _AGGREGATION.search(expression):
        end, depth = found.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(expression[end], 0)
            end += 1
        expression = expression[: found.start()] + expression[end:]
    return expression


async def test_what_each_machine_tells_alike_is_taken_over_all_of_them(families):
    """Two machines would else tell of it twice, and `on` would match the series of one with those of the other."""
    alike = families.keys() - {family.name for family in REGISTRY.collect()}
    assert {"vouchers_stock", "vouchers_held", "vouchers_workers"} <= alike
    for expression in expressions():
        assert alike.isdisjoint(_NAME.findall(besides_aggregations(expression))), expression
        assert " on (" not in expression, expression


async def test_what_an_operator_must_see_is_told(families):
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["vouchers_stock", "available", "default", "p"] == 3
    assert values["vouchers_held", "default", "p"] == 0
    assert values["vouchers_stock_cut",] == 0
    assert values["vouchers_drawn_total",] >= 2
    assert values["vouchers_renders_total", "rendered", "send"] >= 1
    assert values["vouchers_jobs_waiting", "urgent"] == 0
    assert values["vouchers_workers",] == 0
    assert values["vouchers_imports_under_way",] == 0
    assert values["db_client_connection_max", "assigns"] > 0
    assert any(name[0] == "vouchers_build_info" for name in values)


def test_prometheus_is_led_to_services_and_workers():
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    assert any(f'up{{job="{job["job_name"]}"}}' in expression for expression in expressions())
    ports = {target.rpartition(":")[2] for each in job["static_configs"] for target in each["targets"]}
    workers = [process["command"] for _, process, _ in processes() if "worker" in process["command"]]
    assert len(workers) == 2
    for command in workers:
        options = dict(zip(command[2::2], command[3::2], strict=True))
        assert options["--health-host"] == "0.0.0.0"
        assert ports == {"8000", options["--health-port"]}


async def test_methods_that_a_stranger_invents_make_no_families(client):
    for method in ("PROPFIND", "REPORT", "X1"):
        await client.request(method, "/v1/pools")
    shown = (await client.get("/metrics")).text
    assert 'http_request_method="_OTHER"' in shown
    assert "PROPFIND" not in shown


def processes():
    """Command, environment and probes of each container that is described."""
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in composed.items():
        if name != "database":
            yield f"compose {name}", service, service["environment"]
    for part in yaml.safe_load_all((DEPLOY / "kubernetes" / "voucher-pools.yaml").read_text()):
        if "template" in part["spec"]:
            (container,) = part["spec"]["template"]["spec"]["containers"]
            yield (
                f"kubernetes {container['name']}",
                container,
                {e["name"]: e for e in container.get("env", [])},
            )


@pytest.mark.parametrize(
    ("name", "process", "environment"), list(processes()), ids=lambda it: it if isinstance(it, str) else ""
)
def test_what_is_started_can_be_started(name, process, environment):
    program, command, *options = process["command"]
    assert program == "vouchers", name
    known = get_command(cli).commands[command]
    known.parse_args(known.make_context(command, [], resilient_parsing=True), options)
    names = {alias.removesuffix("_FILE") for alias in environment}
    settings = {f"VOUCHERS_{field.upper()}" for field in Settings.model_fields} | {"DATABASE_URL"}
    assert names <= settings, names - settings


async def test_containers_are_confined_and_asked_for_what_is_there(client):
    parts = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "voucher-pools.yaml").read_text()))
    assert [part["kind"] for part in parts] == [
        "Job", "Deployment", "Deployment", "Service", "PodDisruptionBudget"
    ]  # fmt: skip
    for part in parts[:3]:
        pod = part["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                reply = await client.get(container[probe]["httpGet"]["path"])
                assert reply.status_code in {200, 503}, reply.text
    labels = parts[1]["spec"]["template"]["metadata"]["labels"]
    assert all(
        part["spec"]["selector"].get("matchLabels", part["spec"]["selector"]) == labels for part in parts[3:]
    )
    for name, service in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].items():
        if name != "database":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_takes_the_unit(tmp_path):
    unit = (DEPLOY / "systemd" / "voucher-pools.service").read_text()
    program = tmp_path / "vouchers"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "voucher-pools.service").write_text(
        unit.replace("/opt/voucher-pools/bin/vouchers", str(program))
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "voucher-pools.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    (command,) = (
        line.partition("=")[2].split() for line in unit.splitlines() if line.startswith("ExecStart=")
    )
    known = get_command(cli).commands[command[1]]
    known.parse_args(known.make_context(command[1], [], resilient_parsing=True), command[2:])
    assert "VOUCHERS_HOME" in unit
