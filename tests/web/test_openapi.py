"""The OpenAPI document says what is sent, in names that clients can be made from."""

import json
import re

import pytest
from openapi_spec_validator import validate

from app.platform.settings import Settings
from app.server.application import create_app

METHODS = {"get", "put", "post", "delete", "patch", "head"}


@pytest.fixture(scope="module")
def document():
    """The document, made once: it asks no database."""
    app = create_app(Settings(DATABASE_URL="postgresql://nobody@localhost/none", log_level="ERROR"))
    return json.loads(json.dumps(app.openapi()))


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                yield path, method, operation


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_document_is_valid(document):
    validate(document)


def test_every_reference_leads_somewhere(document):
    for reference in set(references(document)):
        here = document
        for step in reference.removeprefix("#/").split("/"):
            here = here[step]


def test_operations_are_verb_and_resource_in_camel_case(document):
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name) for name in ids), ids


def test_schemas_have_the_names_of_things(document):
    for name, schema in document["components"]["schemas"].items():
        assert re.fullmatch(r"[A-Z][A-Za-z]+", name)
        assert not name.endswith("Out")
        assert schema.get("title", name) == name
    assert {"Pool", "PoolCreate", "PoolPage", "Assignment", "Problem"} <= set(
        document["components"]["schemas"]
    )


def test_every_error_is_a_problem(document):
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                (kind,) = response["content"]
                assert kind == "application/problem+json", (path, method, status)
                assert response["content"][kind]["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert "X-Request-Id" in response["headers"]


def test_what_any_route_can_meet_is_declared(document):
    for path, method, operation in operations(document):
        expected = {"500", "503"}
        if operation.get("security"):
            expected |= {"401", "403", "429"}
        if "requestBody" in operation:
            expected |= {"413", "415", "422"}
        assert expected <= set(operation["responses"]), (path, method)
        for status in {"429", "503"} & set(operation["responses"]):
            assert "Retry-After" in operation["responses"][status]["headers"]


def test_every_operation_has_a_text_and_a_tag_that_is_explained(document):
    explained = {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations(document):
        assert operation["description"], (path, method)
        assert set(operation["tags"]) <= explained


def test_edits_that_take_if_match_are_refused_with_412_and_tell_the_version(document):
    edits = []
    for path, method, operation in operations(document):
        takes = any(each["name"] == "If-Match" for each in operation.get("parameters", ()))
        assert takes == ("412" in operation["responses"]), (method, path)
        if takes:
            edits.append(operation["operationId"])
            assert "ETag" in operation["responses"]["412"]["headers"]
            assert method == "delete" or "ETag" in operation["responses"]["200"]["headers"], path
    assert len(edits) > 10
