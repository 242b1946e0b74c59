"""The OpenAPI document: what FastAPI says of the routes, and what is true of all of them.

FastAPI knows neither that every error is a problem document, nor which errors any route can meet. Both are said here
once, and so is how things are called: an operation by verb and resource, a schema by its thing (`Pool`, not `PoolOut`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute

from app.web import idempotency
from app.web.doors import checks_of
from app.web.examples import Example
from app.web.headers import HEADERS
from app.web.problem_document import MEDIA_TYPE
from app.web.problems import Problem, routes_of

METHODS = frozenset({"get", "put", "post", "delete", "patch", "head"})
SAFE = frozenset({"get", "head"})
SCHEMAS = "#/components/schemas/"
FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")
SECURED = {
    "401": "`unauthenticated`: the key is missing, not known, expired or revoked",
    "403": "`forbidden`: the key lacks the scope",
    "429": "`too-many-requests`: wait as long as `Retry-After` says",
}
WITH_BODY = {
    "413": "`payload-too-large`: the body is larger than the service takes",
    "415": "`unsupported-media-type`: the body is of a type that this route does not read",
}
ALWAYS = {
    "422": "`invalid-request`: `errors` says what is wrong, and where",
    "500": "`internal-error`: a fault of the service",
    "503": "`database-unavailable` or `overloaded`: try again as `Retry-After` says",
}
"""Of whatever can be asked: that it knows no such parameter is said by each."""
TO_CHANGE = {"409": "`conflict`: another change of the same was under way each time; nothing was changed"}
WITH_KEY = {"422": "`idempotency-key-reused`: the key came before with another request"}
FRAMEWORK_SUCCESS = "Successful Response"
SUCCESS = {
    "200": "Done, and how it is now",
    "201": "Made",
    "202": "Taken: a job does it",
    "204": "Done",
}
"""What is said of a reply of which its route says nothing."""
FORMATS = {"integer": "int64", "number": "double"}
BY_STATUS = {
    "401": ("WWW-Authenticate",),
    "412": ("ETag",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
"""Headers of replies of a status, whatever the operation."""

Json: TypeAlias = Any  # type: ignore[explicit-any]  # whatever an OpenAPI document holds
Document: TypeAlias = dict[str, Json]


class About(TypedDict):
    """What goes to the document as it is."""

    tags: list[Document]
    contact: Document
    license_info: Document
    servers: list[Document]
    webhooks: Sequence[BaseRoute]


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function in camel case: `create_pool` is `createPool`."""
    first, *rest = route.name.split("_")
    return first + "".join(word.title() for word in rest)


def install(
    app: FastAPI,
    bodies: Iterable[type[BaseModel]],
    examples: Mapping[str, Example],
    **about: Unpack[About],
) -> None:
    """Have `app` describe itself.

    Args:
        app: the application.
        bodies: models that are referred to by `body_of`.
        examples: by `operationId` what stands in its path and body, as `app.api.examples` has them.
        about: goes to the document as it is (contact, servers, tags …).
    """

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
                ),
                bodies,
                examples,
                scopes={operation_id(route): _scopes(route) for route in routes_of(app.routes)},
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def body_of(model: type[BaseModel]) -> Document:
    """Return the schema of a body that a route reads by itself; `install` is told of the model."""
    return {"$ref": f"{SCHEMAS}{model.__name__}"}


def completed(
    document: Document,
    bodies: Iterable[type[BaseModel]],
    examples: Mapping[str, Example],
    scopes: Mapping[str, str],
) -> Document:
    """Return the document with what all operations have in common, and with the names of things."""
    for method, operation in _operations(document):
        _complete(method, operation)
        _describe_success(method, operation)
        _describe_parameters(operation)
        if "403" in operation["responses"]:
            operation["responses"]["403"]["description"] += f"; needed: {scopes[operation['operationId']]}"
        if operation["operationId"] in examples:
            _show(operation, examples[operation["operationId"]])
    for path in document.get("webhooks", {}).values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # the framework's: it is the receiver that answers
            operation["security"] = []
    schemas = document["components"]["schemas"]
    for name in FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    document["components"]["headers"] = HEADERS
    models: list[type[BaseModel]] = [*bodies, Problem]
    for model in models:
        schema = model.model_json_schema(ref_template=SCHEMAS + "{model}")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    _say_sizes(document)
    renamed: Document = _renamed(document, {name: thing_name(name, schemas) for name in schemas})
    return renamed


def _say_sizes(value: Json) -> None:
    """Give numbers the formats that generators for other languages choose types by."""
    if isinstance(value, list):
        for item in value:
            _say_sizes(item)
    elif isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str) and kind in FORMATS:
            value.setdefault("format", FORMATS[kind])
        for item in value.values():
            _say_sizes(item)


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


def _operations(document: Document) -> Iterable[tuple[str, Document]]:
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in METHODS:
                yield method, operation


def _complete(method: str, operation: Document) -> None:
    responses = operation["responses"]
    if "422" in responses and MEDIA_TYPE not in responses["422"].get("content", {}):
        del responses["422"]  # the framework's, which is never sent
    common = {} if "400" in responses else dict(ALWAYS)  # who says that says by itself how it refuses
    if operation.setdefault("security", []) and common:
        common |= SECURED
    if common and method not in SAFE:
        common |= TO_CHANGE
    if common and "requestBody" in operation:
        common |= WITH_BODY
    parameters = {each["name"]: each.get("description") for each in operation.get("parameters", ())}
    keyed = WITH_KEY if parameters.get(idempotency.NAME) == idempotency.ALIKE else {}
    for status, description in (*common.items(), *keyed.items()):
        if status in responses:
            _describe_too(responses[status], description)
        else:
            responses[status] = {"description": description, "content": _problem_content()}
    for status, response in responses.items():
        names = ["X-Request-Id", *BY_STATUS.get(status, ())]
        if status == "200" and "cursor" in parameters:
            names.append("Link")
        described = response.get("headers", {}) | {name: HEADERS[name] for name in names}
        response["headers"] = {
            name: {"$ref": f"#/components/headers/{name}"} if name in HEADERS else header
            for name, header in sorted(described.items())
        }
    operation["responses"] = dict(sorted(responses.items()))


def _show(operation: Document, example: Example) -> None:
    """Put an example into an operation."""
    for parameter in operation.get("parameters", ()):
        if parameter["required"] and parameter["name"] in example.place:
            parameter["example"] = example.place[parameter["name"]]
    for status, shown in example.replies.items():  # not on the route: the framework takes nulls out of it
        operation["responses"][status]["content"]["application/json"]["examples"] = shown
    if example.body is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example.body


def _describe_success(method: str, operation: Document) -> None:
    for status, response in operation["responses"].items():
        if response["description"] == FRAMEWORK_SUCCESS:
            response["description"] = "What was asked for" if method == "get" else SUCCESS[status]


def _scopes(route: APIRoute) -> str:
    """Return the scopes that a route asks for, in words."""
    each = dict.fromkeys(
        " or ".join(f"`{scope}`" for scope in check.scopes) for check in checks_of(route.dependant)
    )
    return ", and ".join(each)


def _describe_parameters(operation: Document) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query" and "anyOf" in parameter["schema"]:
            # A query holds texts: a time is no number there.
            kinds = parameter["schema"]["anyOf"]
            if any(kind.get("format") == "date-time" for kind in kinds):
                parameter["schema"]["anyOf"] = [kind for kind in kinds if kind.get("type") != "number"]
        if parameter["in"] == "path" and parameter["name"].endswith("_id"):
            parameter.setdefault("description", f"Id of the {parameter['name'][:-3].replace('_', ' ')}")


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
