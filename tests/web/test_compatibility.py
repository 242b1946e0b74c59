"""A client of the last release goes on working (docs/api-policy.md)."""

import copy
import json
from pathlib import Path

import pytest

from tests.web.compatibility import breaks

BEFORE = json.loads((Path(__file__).parent / "openapi-0.1.0.json").read_text())


async def test_nothing_of_the_last_release_is_taken_back(client):
    assert breaks(BEFORE, (await client.get("/openapi.json")).json()) == []


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
