"""A Python client made from the document does the main job, and tells problems apart by their types."""

import importlib
import subprocess
import sys

import httpx
import pytest

from tests.factories import KEY

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def made(document, tmp_path_factory):
    """The package that the generator writes."""
    folder = tmp_path_factory.mktemp("client")
    command = [
        *(sys.executable, "-m", "openapi_python_client", "generate", "--path", str(document)),
        *("--meta", "none", "--output-path", str(folder / "voucher_client"), "--fail-on-warning"),
    ]
    environment = {
        "PATH": f"{sys.executable.rpartition('/')[0]}:/usr/bin:/bin"
    }  # for ruff, which it formats with
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield "voucher_client"
    sys.path.remove(str(folder))


@pytest.fixture
def api(made, service):
    """Calls an operation of the generated client: its parsed reply."""
    module = importlib.import_module(f"{made}.client")
    with module.AuthenticatedClient(service.url, KEY) as client:

        def call(place, *path, **more):
            operation = importlib.import_module(f"{made}.api.{place}")
            return operation.sync(*path, client=client, **more)

        call.models = importlib.import_module(f"{made}.models")
        yield call


def test_the_main_job(api, service):
    models = api.models
    assert api("pools.create_pool", body=models.PoolCreate(name="generated")).name == "generated"
    httpx.post(
        f"{service.url}/v1/pools/generated/imports",
        files={"file": ("codes.csv", "code\nPY-1\nPY-2\n")},
        headers={"Authorization": f"Bearer {KEY}", "Prefer": "wait=30"},
    ).raise_for_status()
    given = [
        api(
            "assignments.assign_voucher",
            "generated",
            body=models.AssignmentCreate(customer_id="c-1"),
            idempotency_key="order-1",
        )
        for _ in range(2)
    ]
    assert given[0].code == given[1].code
    message = models.RenderRequest(
        template="{{ vouchers['generated'].assign_available() }}",
        channel=models.Channel.EMAIL,
        mode=models.Mode.SEND,
        customer_id="c-2",
        message_id="m-1",
    )
    assert api("rendering.render_message", body=message).rendered.startswith("PY-")
    mapping = models.MappingIn(event_type="purchase", property_="voucher_code")
    api("redemptions.put_redemption_mapping", body=models.Mappings(mappings=[mapping]))
    event = models.EventIn.from_dict(
        {
            "event_id": "e-1",
            "customer_id": "c-1",
            "event_type": "purchase",
            "properties": {"voucher_code": given[0].code},
        }
    )
    (tracked,) = api("redemptions.track_events", body=models.EventBatch(events=[event])).items
    assert tracked.redemption == "redeemed"
    counts = api("pools.get_pool_counts", "generated")
    assert (counts.redeemed, counts.assigned, counts.available) == (1, 1, 0)


def test_ten_problems_are_typed(api):
    models = api.models
    pool = models.PoolCreate(name="problems")
    api("pools.create_pool", body=pool)
    nobody = "00000000-0000-4000-8000-000000000000"
    found = [
        api("pools.create_pool", body=pool),
        api("pools.create_pool", body=models.PoolCreate(name="a b")),
        api("pools.get_pool", "none"),
        api("assignments.assign_voucher", "problems", body=models.AssignmentCreate()),
        api("assignments.get_assignment", nobody),
        api("vouchers.get_voucher", "NONE"),
        api("imports.get_import", nobody),
        api("customers.get_customer", "nobody"),
        api("customers.get_aggregate", "none"),
        api("alerts.get_alerts", "problems"),
    ]
    assert all(isinstance(problem, models.Problem) for problem in found), found
    assert [problem.type_.rpartition("/")[2] for problem in found] == [
        "pool-exists",
        "invalid-request",
        "pool-not-found",
        "pool-exhausted",
        "assignment-not-found",
        "voucher-not-found",
        "import-not-found",
        "customer-not-found",
        "aggregate-not-found",
        "alert-not-found",
    ]
    assert found[1].errors[0].loc[:2] == ["body", "name"]
