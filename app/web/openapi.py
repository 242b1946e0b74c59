"""The OpenAPI document: what FastAPI says of the routes, and what is true of all of them.

FastAPI knows neither that every error is a problem document, nor which errors any route can meet. Both are said here
once, and so is how things are called: an operation by verb and resource, a schema by its thing (`Pool`, not `PoolOut`).
"""

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.web import etag
from app.web.problems import MEDIA_TYPE, Problem

METHODS = frozenset({"get", "put", "post", "delete", "patch", "head"})
FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")
SECURED = {
    "401": "`unauthenticated`: the key is missing, not known, expired or revoked",
    "403": "`forbidden`: the key lacks the scope",
    "429": "`too-many-requests`: wait as long as `Retry-After` says",
}
WITH_INPUT = {"422": "`invalid-request`: `errors` says what is wrong, and where"}
WITH_BODY = {
    "413": "`payload-too-large`: the body is larger than the service takes",
    "415": "`unsupported-media-type`: the body is of a type that this route does not read",
}
ALWAYS = {
    "500": "`internal-error`: a fault of the service; nothing was changed",
    "503": "`database-unavailable` or `overloaded`: try again as `Retry-After` says",
}
REQUEST_ID = {
    "description": "Id of the request, as in the log; taken from the request where it has one",
    "schema": {"type": "string"},
}
RETRY_AFTER = {"description": "Seconds to wait before the next try", "schema": {"type": "integer"}}

Json: TypeAlias = Any  # type: ignore[explicit-any]  # whatever an OpenAPI document holds
Document: TypeAlias = dict[str, Json]


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function in camel case: `create_pool` is `createPool`."""
    first, *rest = route.name.split("_")
    return first + "".join(word.title() for word in rest)


def install(app: FastAPI, **about: Json) -> None:
    """Let `app` describe itself; `about` goes to the document as it is (contact, servers, tags …)."""

    def openapi() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = completed(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    summary=app.summary,
                    description=app.description,
                    routes=app.routes,
                    **about,
                )
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def completed(document: Document) -> Document:
    """Return the document with what all operations have in common, and with the names of things."""
    for operation in _operations(document):
        _complete(operation)
    for path in document.get("webhooks", {}).values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # the framework's: it is the receiver that answers
            operation["security"] = []
    schemas = document["components"]["schemas"]
    for name in FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    renamed: Document = _renamed(document, {name: thing_name(name, schemas) for name in schemas})
    return renamed


def thing_name(name: str, schemas: Iterable[str]) -> str:
    """Return what a schema is called in the document.

    `PoolOut` is `Pool`, `Page_PoolOut_` is `PoolPage`, and `RenderBatchOut` is `RenderBatchResult`, because there is a
    `RenderBatch` that goes in. A name that two rooms have gets the room's: `RenderingBatchItem`.
    """
    page = re.fullmatch(r"Page_(\w+?)_", name)
    if page:
        return f"{thing_name(page[1], schemas)}Page"
    module = re.fullmatch(r"app__domain__(?:\w+__)?(\w+?)__schemas__(\w+)", name)
    if module:
        return module[1].title() + thing_name(module[2], schemas)
    if not name.endswith("Out"):
        return name
    short = name.removesuffix("Out")
    return f"{short}Result" if short in schemas else short


def _operations(document: Document) -> Iterable[Document]:
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in METHODS:
                yield operation


def _complete(operation: Document) -> None:
    responses = operation["responses"]
    if "422" in responses and MEDIA_TYPE not in responses["422"].get("content", {}):
        del responses["422"]  # the framework's, which is never sent
    common = dict(ALWAYS)
    if operation.setdefault("security", []):
        common |= SECURED
    if operation.get("parameters") or "requestBody" in operation:
        common |= WITH_INPUT
    if "requestBody" in operation:
        common |= WITH_BODY
    for status, description in common.items():
        if status in responses:
            _describe_too(responses[status], description)
        else:
            responses[status] = {"description": description, "content": _problem_content()}
    for status, response in responses.items():
        headers = response.setdefault("headers", {})
        if status == "412":
            headers["ETag"] = etag.HEADER
        headers["X-Request-Id"] = REQUEST_ID
        if status in {"429", "503"}:
            headers["Retry-After"] = RETRY_AFTER
    operation["responses"] = dict(sorted(responses.items()))


def _problem_content() -> Document:
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def _describe_too(response: Document, description: str) -> None:
    names = re.findall(r"`([a-z-]+)`", description)
    if not any(f"`{name}`" in response["description"] for name in names):
        response["description"] += f" · {description}"


def _renamed(value: Json, names: dict[str, str]) -> Json:
    """Return the document with schemas and references to them under their new names."""
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    renamed: Document = {}
    for key, item in value.items():
        if key == "$ref" and isinstance(item, str):
            head, _, name = item.rpartition("/")
            renamed[key] = f"{head}/{names.get(name, name)}"
        elif key == "schemas" and isinstance(item, dict):
            called: Document = {str(names.get(old, old)): schema for old, schema in sorted(item.items())}
            renamed[key] = {new: _titled(_renamed(schema, names), new) for new, schema in called.items()}
        else:
            renamed[key] = _renamed(item, names)
    return renamed


def _titled(schema: Document, name: str) -> Document:
    return schema | {"title": name} if "title" in schema else schema
