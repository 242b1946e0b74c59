"""A client of the last release goes on working (docs/api-policy.md)."""

import copy
import json
import re
from pathlib import Path

import pytest

from tests.web.compatibility import breaks

BEFORE = json.loads((Path(__file__).parent / "openapi-0.1.0.json").read_text())
CHANGELOG = (Path(__file__).parent.parent.parent / "CHANGELOG.md").read_text()


async def test_nothing_of_the_last_release_is_taken_back(client):
    assert breaks(BEFORE, (await client.get("/openapi.json")).json()) == []


async def test_what_is_deprecated_stands_in_the_changelog(client):
    paths = (await client.get("/openapi.json")).json()["paths"].values()
    operations = [operation for path in paths for operation in path.values()]
    parameters = [parameter for operation in operations for parameter in operation.get("parameters", [])]
    deprecated = [each for each in operations + parameters if each.get("deprecated")]
    told = "".join(re.findall(r"^### Deprecated\n(.*?)^##", CHANGELOG, re.MULTILINE | re.DOTALL))
    assert deprecated
    assert {each.get("name") or each["operationId"] for each in deprecated} <= set(
        re.findall(r"`(\w+)`", told)
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda paths, _: paths.pop("/v1/pools"), "GET /v1/pools is gone"),
        (
            lambda paths, _: paths["/v1/pools"]["post"]["responses"].pop("201"),
            "POST /v1/pools does not answer 201 any more",
        ),
        (
            lambda _, schemas: schemas["PoolCreate"]["required"].append("owner"),
            "POST /v1/pools: request now needs owner",
        ),
        (
            lambda _, schemas: schemas["PoolOut"]["properties"].pop("created_at"),
            "GET /v1/pools/{pool}: reply 200 has no created_at any more",
        ),
        (
            lambda _, schemas: schemas["PoolOut"]["properties"]["name"].update(type="integer"),
            "GET /v1/pools/{pool}: reply 200.name is integer and was string",
        ),
    ],
)
def test_what_is_taken_back_is_found(change, told):
    after = copy.deepcopy(BEFORE)
    change(after["paths"], after["components"]["schemas"])
    assert told in breaks(BEFORE, after)
