"""The hot path: answers `POST /v1/pools/{pool}/assignments` before the framework sees it.

It is the twin of the route `assign` in `router.py`, which documents it, made of the same pieces: keys, schemas,
assigner, problems. What it leaves out is the framework's work between the socket and the assigner, most of the cost
of such a request (docs/performance.md). A test holds the two to the same answers.
"""

import re
from collections.abc import Callable

from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.assignments import reply
from app.domain.access.keys.service import KeyRing
from app.domain.access.scopes import Scope as Permission
from app.domain.assignments.assigner import Assigner
from app.domain.assignments.schemas import AssignmentCreate
from app.domain.lifecycle.requests import LedgerEntry
from app.platform.errors import InvalidRequestError, PayloadTooLargeError, UnsupportedMediaTypeError
from app.schema.texts import Identifier
from app.web.dependencies import held_by
from app.web.guard import permit, secret_in
from app.web.problems import response_to

PATH = re.compile(r"/v1/pools/([^/]+)/assignments")
ROUTE = "/v1/pools/{pool}/assignments"
MAX_BODY = 64 * 1024
"""Bytes: many times what an assignment can say."""

_identifier = TypeAdapter(Identifier)


class HotPath:
    """ASGI: the application, with a short way in for the one route that has to be fast."""

    def __init__(self, app: FastAPI) -> None:
        self._app: ASGIApp = app
        self._framework = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        if (
            scope["type"] != "http"
            or scope["method"] != "POST"
            or scope["query_string"]  # there is no parameter; the framework's route says so
            or "\0" in scope["path"]  # nor can a name have this
            or not (path := PATH.fullmatch(scope["path"]))
        ):
            await self._app(scope, receive, send)
            return
        scope["route"] = ROUTE
        try:
            body, status, headers = reply(await _assign(self._framework, path[1], scope, receive))
        except ValidationError as error:
            await response_to(InvalidRequestError.from_errors(error.errors(), "body"), scope["path"])(
                scope, receive, send
            )
        except Exception as error:  # noqa: BLE001  (as the framework does: every error becomes a problem)
            await response_to(error, scope["path"])(scope, receive, send)
        else:
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            raw.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": body})


async def _assign(app: FastAPI, pool: str, scope: Scope, receive: Receive) -> LedgerEntry:
    authorization = content_type = key = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"content-type":
            content_type = value
        elif name == b"idempotency-key":
            key = value
    secret = secret_in(authorization and authorization.decode("latin-1"))
    keys = held_by(app, KeyRing)
    caller = permit(keys.remembered(secret) or await keys.recognise(secret), Permission.ASSIGN)
    idempotency_key = None
    if key is not None:
        try:
            idempotency_key = _identifier.validate_python(key.decode("latin-1"))
        except ValidationError as error:
            raise InvalidRequestError.from_errors(error.errors(), "header", "idempotency-key") from error
    if content_type is None or not content_type.lower().startswith(b"application/json"):
        raise UnsupportedMediaTypeError("Send JSON, with the header 'Content-Type: application/json'.")
    body = AssignmentCreate.model_validate_json(await _body(receive))
    wanted = body.to_request(pool, idempotency_key, caller.key_id)
    return await held_by(app, Assigner).assign(pool, wanted, _gone(receive))


def _gone(receive: Receive) -> Callable[[], bool]:
    """Whether the client has hung up, as far as can be told without waiting.

    Uvicorn's `receive` is a method of the request's cycle, which knows. Under another server nobody counts as gone.
    """
    cycle = getattr(receive, "__self__", None)
    return lambda: getattr(cycle, "disconnected", False)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise PayloadTooLargeError(f"An assignment is at most {MAX_BODY} bytes of JSON.")
    return body
