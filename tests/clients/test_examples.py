"""Every example of the OpenAPI page, sent as it stands to a service with the demo's data, is answered."""

import re
import subprocess
import sys
from urllib.parse import quote, urlencode

import httpx
import pytest

pytestmark = pytest.mark.clients
METHODS = ("get", "post", "put", "patch", "delete")
ANSWERED = {
    "cancelImport": 409,  # the demo's imports have ended
    "cancelBulkChange": 409,
}
"""Operations whose example is one of being refused."""
LAST = ("void", "undo", "revoke", "erase")


@pytest.fixture(scope="module")
def demo():
    """A client of `vouchers demo --quick --keep`."""
    # A shell that runs tests in the background has them ignore what Ctrl-C sends.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "app.cli", "demo", "--quick", "--keep"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = ""
    try:
        for line in process.stdout:
            said += line
            if "API key:" in line:
                break
        url = re.findall(r"The page: (\S+)/docs", said)[-1]
        key = said.rpartition("API key:")[2].strip()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            yield client
    finally:
        process.send_signal(2)
        process.communicate(timeout=60)


def operations(document):
    """Every operation; what takes away comes last."""
    found = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]

    def late(entry):
        return entry[1] == "delete", entry[2]["operationId"].startswith(LAST)

    return sorted(found, key=late)


def filled(path, operation):
    query = {}
    for parameter in operation.get("parameters", ()):
        if parameter["required"]:
            shown = parameter.get("example") or parameter["schema"]["examples"][0]
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(shown, safe=""))
            else:
                query[parameter["name"]] = shown
    return f"{path}?{urlencode(query)}" if query else path


def test_every_example_is_answered(demo):
    document = demo.get("/openapi.json").json()
    wrong = []
    for path, method, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        bodies = [{}]
        if "application/json" in content:
            media = content["application/json"]
            shown = [each["value"] for each in media.get("examples", {}).values()]
            shown += [media["example"]] if "example" in media else []
            assert shown or not operation["requestBody"].get("required"), (path, method)
            bodies = [{"json": each} for each in shown] or bodies
        elif content:
            bodies = [{"files": {"file": ("customers.csv", "customer_id,first_name\nc-1,Ada\n")}}]
        expected = ANSWERED.get(operation["operationId"], 200)
        for body in bodies:
            reply = demo.request(method, filled(path, operation), **body)
            if not reply.is_success and reply.status_code != expected:
                wrong.append((operation["operationId"], reply.status_code, reply.text[:300]))
    assert wrong == []
    page = demo.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r'(?:src|href)="https?://', page.text), "the page needs no other host"


def test_optional_fields_are_not_filled_in(demo):
    document = demo.get("/openapi.json").json()
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter["required"] or not {"example", "examples"} & parameter.keys(), parameter
