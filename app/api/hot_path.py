"""The hot path: answers single assigns, single renders and a few events before the framework sees them.

It is the twin of the routes `assign_voucher` in `assignments.py`, `render_message` in `rendering.py`, `track_events` in
`tracking.py` and `track_customer_event` in `trackers.py`, which document them, made of the same pieces: keys, schemas,
assigner, batchers, problems. What it leaves out is the framework's work between the socket and these, most of the cost
of such a request (docs/performance.md). It answers what is plain and right, and leaves whatever is odd or wrong to the
framework: so there is one judge of a request, and no two that differ. A test holds the two to the same answers.
"""

import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from fastapi import FastAPI, Request
from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import rendering, trackers, tracking
from app.api.assignments import FIRST, REPLAYED, reply
from app.api.tracker_bodies import command_of
from app.domain.access.errors import UnauthenticatedError
from app.domain.access.keys.ring import KeyRing
from app.domain.access.scopes import Caller
from app.domain.access.scopes import Scope as Permission
from app.domain.assignments.assigner import Assigner
from app.domain.assignments.schemas import AssignmentCreate
from app.domain.customers.events import NewEvent
from app.domain.lifecycle.requests import AssignmentRequest
from app.domain.rendering.schemas import RenderRequest
from app.domain.tracking.commands import Command
from app.domain.tracking.gathering import FEW, Gathering
from app.domain.tracking.schemas import EventBatch, Tracked
from app.platform import logs
from app.platform.databases import Place
from app.platform.errors import DomainError, InvalidRequestError
from app.schema.names import nfc
from app.schema.texts import Identifier
from app.web import json_bounds, presence
from app.web.credentials import secret_in
from app.web.dependencies import PLACE, held_by
from app.web.failed_keys import FailedKeys
from app.web.guard import looked_up
from app.web.problems import response_to
from app.web.replies import ReplyHeaders, Tell, lines_of, own, raw
from app.web.trackers import key_in

PATH = re.compile(r"/v1/pools/([^/\x00-\x20]+)/assignments")
ROUTE = "/v1/pools/{pool}/assignments"
RENDER = "/v1/render"
EVENTS = "/v1/events"
TRACKED = "/track/v2/projects/{project:id}/customers/events"
_BEFORE, _BEHIND = TRACKED.split("{project:id}")
MAX_BODY = 64 * 1024
"""Bytes: many times what an assignment or a message says as a rule."""

Answer: TypeAlias = tuple[bytes, int, Mapping[str, str]]
"""Body, status and headers."""

Told: TypeAlias = Callable[[Answer | Exception], None]
Result = TypeVar("Result")

_READ = frozenset({b"authorization", b"content-type", b"idempotency-key"})
_identifier = TypeAdapter(Identifier)
_HEADS = {
    scheme: [lines_of([*raw(headers), *own(scheme)]) for headers in (FIRST, REPLAYED)]
    for scheme in ("http", "https")
}
"""Lines of the heads of answers, and of those that tell what was given before."""


@dataclass(slots=True)
class _Head:
    """What the head of a plain request says."""

    secret: str
    idempotency_key: str | None
    key_id: str | None = None
    """The id that a tracker gives with its key."""


class HotPath:
    """ASGI: the application, with a short way in for the routes that have to be fast."""

    def __init__(self, app: FastAPI) -> None:
        self._app: ASGIApp = ReplyHeaders(app)
        self._framework = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        route = _route(scope)
        if route is None or (head := _head(scope, route)) is None:
            presence.note(scope, receive)
            await self._app(scope, receive, send)
            return
        try:
            read: list[Message] = []
            answering = await self._answering(scope, route, head, receive, read)
            if answering is None:
                presence.note(scope, receive)
                await self._app(scope, _again(read, receive), send)
                return
            scope["route"] = route
            body, status, headers = await answering
        except Exception as error:  # noqa: BLE001  (as the framework does: every error becomes a problem)
            scope["route"] = route
            await ReplyHeaders(response_to(error, scope["path"]))(scope, receive, send)
        else:
            told = [*raw(headers), (b"content-length", b"%d" % len(body)), *own(scope["scheme"])]
            await send({"type": "http.response.start", "status": status, "headers": told})
            await send({"type": "http.response.body", "body": body})

    def begin(self, scope: Scope, body: bytes, request_id: str, gone: Callable[[], bool], tell: Tell) -> bool:
        """Begin to answer a request that has come whole, without a task; False where `__call__` shall do it.

        Args:
            scope: ASGI's.
            body: all of it.
            request_id: for the problem.
            gone: whether nobody waits for the answer any more.
            tell: gets body, status and lines of the head, in this call or later.
        """
        route = _route(scope)
        if route is None or (head := _head(scope, route)) is None or len(body) > MAX_BODY:
            return False
        caller = held_by(self._framework, KeyRing).remembered(head.secret)
        if caller is None or not _may(caller, route):
            return False
        if route is TRACKED and not _is_for(caller, scope["path"], head.key_id):
            return False
        try:
            json_bounds.check(body)
            begin = self._beginning(scope, route, caller, body, head.idempotency_key)
        except (InvalidRequestError, ValueError):
            return False
        if begin is None:
            return False
        scope["route"], scope[PLACE] = route, caller.place
        heads = _HEADS[scope["scheme"]]

        def told(answer: Answer | Exception) -> None:
            if isinstance(answer, Exception):
                tell(*copy_context().run(_failed, answer, scope, request_id))
            else:
                made, status, headers = answer
                tell(made, status, heads[headers is REPLAYED])

        try:
            begin(told, gone)
        except Exception as error:  # noqa: BLE001  (every error becomes a problem)
            told(error)
        return True

    def _beginning(
        self, scope: Scope, route: str, caller: Caller, body: bytes, key: str | None
    ) -> Callable[[Told, Callable[[], bool]], None] | None:
        """Return what begins to answer, given whom to tell and whether they have gone; None: it takes a task."""
        if route is ROUTE:
            wanted = _wanted(scope, caller, body, key)
            assigner = held_by(self._framework, Assigner, caller.place)
            return (
                (lambda told, gone: assigner.begin(*wanted, _answers(told, reply), gone)) if wanted else None
            )
        if route is RENDER:
            return None
        gathering = held_by(self._framework, Gathering, caller.place)
        if route is EVENTS:
            events = _events(caller, body, key)
            return (lambda told, _: gathering.begin(events, _answers(told, _tracked))) if events else None
        command = command_of("customers/events", json.loads(body))
        return lambda told, _: gathering.begin_one(caller, command, _answers(told, _done))

    async def _answering(
        self, scope: Scope, route: str, head: _Head, receive: Receive, read: list[Message]
    ) -> Coroutine[object, object, Answer] | None:
        """Return what will answer; None where the framework shall judge, for which `read` has what was received."""
        keys, failures = held_by(self._framework, KeyRing), held_by(self._framework, FailedKeys)
        address = scope["client"][0] if scope["client"] else ""
        try:
            caller = await looked_up(keys, failures, head.secret, address)
        except DomainError:
            return None
        logs.project_id.set(caller.project_id)
        if not _may(caller, route):
            return None
        if route is TRACKED and not _is_for(caller, scope["path"], head.key_id):
            return None
        body = await _body(receive, read)
        if body is None:
            return None
        try:
            json_bounds.check(body)
            return self._answer_to(scope, route, caller, body, head.idempotency_key, receive)
        except (InvalidRequestError, ValueError):
            return None

    def _answer_to(
        self, scope: Scope, route: str, caller: Caller, body: bytes, key: str | None, receive: Receive
    ) -> Coroutine[object, object, Answer] | None:
        if route is RENDER:
            return self._rendering(scope, caller, body, key, receive)
        if route is EVENTS:
            return self._tracking(caller, body, key)
        if route is TRACKED:
            return self._carry_out(caller, command_of("customers/events", json.loads(body)))
        return self._assigning(scope, caller, body, key, receive)

    def _assigning(
        self, scope: Scope, caller: Caller, body: bytes, key: str | None, receive: Receive
    ) -> Coroutine[object, object, Answer] | None:
        wanted = _wanted(scope, caller, body, key)
        return None if wanted is None else self._assign(caller.place, *wanted, receive)

    async def _assign(self, place: Place, pool: str, wanted: AssignmentRequest, receive: Receive) -> Answer:
        gone = presence.hung_up(presence.cycle_behind(receive))
        return reply(await held_by(self._framework, Assigner, place).assign(pool, wanted, gone))

    def _rendering(
        self, scope: Scope, caller: Caller, body: bytes, key: str | None, receive: Receive
    ) -> Coroutine[object, object, Answer]:
        wanted = RenderRequest.model_validate_json(body)
        cycle = presence.cycle_behind(receive)
        there = presence.still_there(cycle, lambda: Request(scope, receive))
        return rendering.render_one(self._framework, wanted, caller, key, presence.hung_up(cycle), there)

    def _tracking(
        self, caller: Caller, body: bytes, key: str | None
    ) -> Coroutine[object, object, Answer] | None:
        events = _events(caller, body, key)
        return None if events is None else self._track(caller.place, events)

    async def _track(self, place: Place, events: Sequence[NewEvent]) -> Answer:
        return _tracked(await held_by(self._framework, Gathering, place).track(events))

    async def _carry_out(self, caller: Caller, command: Command) -> Answer:
        gathering = held_by(self._framework, Gathering, caller.place)
        return _done(await gathering.carry_out(caller, [command]))


def _route(scope: Scope) -> str | None:
    """Return the route of a request, where it is one of those that have a short way."""
    if (
        scope["type"] != "http"
        or scope["method"] != "POST"
        or scope["query_string"]  # there is no parameter; the framework's route says so
        or "\0" in scope["path"]  # nor can a name have this
    ):
        return None
    path = scope["path"]
    for route in (RENDER, EVENTS):
        if path == route:
            return route  # the one that is compared by identity
    if path.startswith(_BEFORE):
        return TRACKED if path.endswith(_BEHIND) else None
    return ROUTE if PATH.fullmatch(path) else None


def _may(caller: Caller, route: str) -> bool:
    """Tell whether a caller may use a route, with no bound that would have to be counted."""
    permission = Permission.EVENTS if route in {EVENTS, TRACKED} else Permission.ASSIGN
    return caller.requests_per_minute is None and caller.may(permission)


def _wanted(
    scope: Scope, caller: Caller, body: bytes, key: str | None
) -> tuple[str, AssignmentRequest] | None:
    """Return pool and request of an assignment; None where it asks for a code of its choice."""
    wanted = AssignmentCreate.model_validate_json(body)
    if wanted.code is not None:  # rare, and not for a batch
        return None
    pool = nfc(scope["path"].split("/", 4)[3])
    return pool, wanted.to_request(pool, key, caller.key_id)


def _events(caller: Caller, body: bytes, key: str | None) -> list[NewEvent] | None:
    """Return the events of a request; None where they are many."""
    wanted = EventBatch.model_validate_json(body)
    return tracking.new_events(wanted, caller, key) if len(wanted.events) <= FEW else None


def _tracked(tracked: Sequence[Tracked]) -> Answer:
    return tracking.reply(tracked), 200, FIRST


def _done(done: Sequence[str | None]) -> Answer:
    return trackers.done(done), 200, FIRST


def _answers(told: Told, answer: Callable[[Result], Answer]) -> Callable[[Result | Exception], None]:
    """Return what tells the answer that a result makes, or the error."""

    def tell(result: Result | Exception) -> None:
        try:
            made = result if isinstance(result, Exception) else answer(result)
        except Exception as error:  # noqa: BLE001  (whoever waits must hear of it)
            made = error
        told(made)

    return tell


def _is_for(caller: Caller, path: str, key_id: str | None) -> bool:
    """Tell whether a tracker names the caller's project, letter by letter, and no other key."""
    return path[len(_BEFORE) : -len(_BEHIND)] == caller.project and key_id in {None, str(caller.key_id)}


def _head(scope: Scope, route: str) -> _Head | None:
    """Return what the head says, where it is plain: each header once, JSON."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _READ:
            if name in found:
                return None
            found[name] = value
    if found.get(b"content-type") != b"application/json":
        return None
    key = found.get(b"idempotency-key")
    authorization = found.get(b"authorization", b"").decode("latin-1")
    try:
        if route is TRACKED:
            named: list[str] = []
            secret = key_in(authorization, named)
            return None if key is not None else _Head(secret, None, named[0] if named else None)
        secret = secret_in(authorization)
        return _Head(secret, None if key is None else _identifier.validate_python(key.decode("latin-1")))
    except (UnauthenticatedError, ValidationError):
        return None


def _failed(error: Exception, scope: Scope, request_id: str) -> tuple[bytes, int, bytes]:
    """Return the problem, as body, status and lines of the head; sets whose it is in the current context."""
    logs.request_id.set(request_id)
    _, project = scope[PLACE]
    logs.project_id.set(project)
    response = response_to(error, scope["path"])
    told = [header for header in response.raw_headers if header[0] != b"content-length"]
    return bytes(response.body), response.status_code, lines_of([*told, *own(scope["scheme"])])


def _again(read: list[Message], receive: Receive) -> Receive:
    """Give what was received already, and then what comes."""
    messages = iter(read)

    async def receive_again() -> Message:
        return next(messages, None) or await receive()

    return receive_again


async def _body(receive: Receive, read: list[Message]) -> bytes | None:
    """Return the body; None where it is longer than is plain, or the client has gone."""
    body = b""
    while True:
        message = await receive()
        read.append(message)
        piece: bytes = message.get("body", b"")
        body += piece
        if message["type"] != "http.request" or len(body) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return body
