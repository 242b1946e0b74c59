"""The OpenAPI document says what is sent, in names that clients can be made from."""

import json
import re

import pytest
from openapi_spec_validator import validate

from app.platform import hooks
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


TRACKERS = "/track/"
"""Paths of which the errors are as Exponea's clients read them."""


def test_every_error_is_a_problem(document):
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400" and path.startswith(TRACKERS):
                said = response["content"]["application/json"]["schema"]
                assert said == {"$ref": "#/components/schemas/TrackerFailure"}, (path, method, status)
            elif status >= "400":
                (kind,) = response["content"]
                assert kind == "application/problem+json", (path, method, status)
                assert response["content"][kind]["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert "X-Request-Id" in response["headers"]


def test_what_any_route_can_meet_is_declared(document):
    for path, method, operation in operations(document):
        expected = {"500", "503"}
        if not path.startswith(TRACKERS):
            expected |= {"422"} if method == "get" else {"409", "422"}
        if operation.get("security"):
            expected |= {"401", "403", "429"}
        if path.startswith(TRACKERS):
            expected |= {"400", "404", "413"}
            assert not {"415", "422"} & set(operation["responses"])
        elif "requestBody" in operation:
            expected |= {"413", "415"}
        assert expected <= set(operation["responses"]), (path, method)
        for status in {"429", "503"} & set(operation["responses"]):
            assert "Retry-After" in operation["responses"][status]["headers"]


def test_a_message_of_which_the_code_was_voided_since_is_declared(document):
    for path in (
        "render",
        "customers/{customer_id}/properties/render",
        "customers/{customer_id}/events/render",
    ):
        assert "`void`" in document["paths"][f"/v1/{path}"]["post"]["responses"]["409"]["description"]


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


REPEATABLE = {
    "previewImport": "changes nothing",
    "trackCustomer": "sets the same properties again",
    "trackCustomerEvent": "an event is known again by what it says",
    "trackBatch": "each command is as by itself",
    "tellSystemTime": "changes nothing",
}
"""What may be sent again without a key, and why."""
TOLD_OF_EACH = {"trackEvents"}
"""Where another thing under the same key is no error of the request: each event is answered by itself."""


def test_whatever_gives_or_changes_something_takes_an_idempotency_key(document):
    for path, method, operation in operations(document):
        if method == "post":
            names = {each["name"] for each in operation.get("parameters", ())}
            assert ("Idempotency-Key" in names) != (operation["operationId"] in REPEATABLE), path
            if "Idempotency-Key" in names:
                refused = "`idempotency-key-reused`" in operation["responses"]["422"]["description"]
                assert refused != (operation["operationId"] in TOLD_OF_EACH), path


def test_what_a_key_does_is_said_where_it_is_not_the_usual(document):
    said = {}
    for path, _, operation in operations(document):
        for each in operation.get("parameters", ()):
            if each["name"] == "Idempotency-Key":
                said.setdefault(each["description"], []).append(path)
    usual = max(said, key=lambda text: len(said[text]))
    assert "answered alike" in usual
    by_place = {path for text in said.keys() - {usual} for path in said[text]}
    assert by_place == {"/v1/pools/{pool}/assignments/batch", "/v1/events"}


def test_a_receiver_is_told_what_its_answers_do(document):
    def said(name):
        return document["webhooks"][name]["post"]["responses"]["204"]["description"]

    assert "Any other answer, or none in 15 s: it comes again" in said("events")
    final, _, other = said("alert").partition("does not come again")
    assert {int(status) for status in re.findall(r"\b[45]\d\d\b", final)} == hooks.FINAL
    assert "none in 15 s: it comes again" in other


def test_headers_are_described_where_they_come(document):
    described = {}
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            described[f"{method} {path} {status}"] = set(response["headers"])
    assert {"Location", "ETag", "Idempotency-Replayed"} <= described["post /v1/pools 201"]
    assert {"Location", "Preference-Applied"} <= described["post /v1/pools/{pool}/imports 200"]
    assert "Link" in described["get /v1/pools 200"]
    assert "WWW-Authenticate" in described["get /v1/pools 401"]


def test_the_body_of_an_import_is_described_source_by_source(document):
    schemas = document["components"]["schemas"]
    for operation in ("/v1/pools/{pool}/imports", "/v1/imports/preview"):
        content = document["paths"][operation]["post"]["requestBody"]["content"]
        body = schemas[content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        source = body["properties"]["source"]
        assert set(source["discriminator"]["mapping"]) == {"text", "url", "database", "storage", "analysis"}
        assert len(source["oneOf"]) == 5
        assert "file" in content["multipart/form-data"]["schema"]["properties"]


def test_the_scopes_that_a_route_needs_are_told(document):
    def said(path, method):
        return document["paths"][path][method]["responses"]["403"]["description"].rpartition("needed: ")[2]

    assert said("/v1/pools", "get") == "`pools` or `read`"
    assert said("/v1/api-keys", "post") == "`admin`"
    assert said("/v1/customers/{customer_id}/properties/render", "post") == "`assign`, and `events`"
    assert all(
        "needed: `" in operation["responses"]["403"]["description"]
        for _, _, operation in operations(document)
        if operation.get("security")
    )


def test_numbers_have_a_size(document):
    def numbers(value):
        if isinstance(value, dict):
            if value.get("type") in ("integer", "number"):
                yield value
            for item in value.values():
                yield from numbers(item)
        elif isinstance(value, list):
            for item in value:
                yield from numbers(item)

    found = list(numbers(document["components"]["schemas"])) + list(numbers(document["paths"]))
    assert len(found) > 50
    assert all(each["format"] in ("int64", "double") for each in found)
