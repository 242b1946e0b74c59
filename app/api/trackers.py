"""`/track/v2`: what Exponea's clients send, as they send it."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.domain.access.scopes import Caller, Scope
from app.domain.tracking.commands import Command, carry_out
from app.domain.tracking.projects import project_of
from app.domain.tracking.sign_ins import SignIns
from app.domain.tracking.trackers import (
    MAX_COMMANDS,
    CommandId,
    TrackedBatch,
    TrackedCustomer,
    TrackedEvent,
    TrackerDone,
    TrackerFailure,
    TrackerResults,
    TrackerTime,
)
from app.platform.clock import clock
from app.platform.errors import InvalidRequestError
from app.web.dependencies import Engine, held
from app.web.headers import Responses
from app.web.openapi import body_of
from app.web.trackers import requires

router = APIRouter(prefix="/track/v2/projects/{project:id}", tags=["trackers"])
BODIES = (TrackedCustomer, TrackedEvent, TrackedBatch)
"""Models of bodies that routes read by themselves."""
COMMAND_ID: TypeAdapter[str | int] = TypeAdapter(CommandId)
Signing = Annotated[SignIns, held(SignIns)]
Tracker = Annotated[Caller, requires(Scope.EVENTS)]
Project = Annotated[
    str, Path(description="The project; there is one, which is called `default`", examples=["default"])
]
FAILURES: Responses = {
    status: {"model": TrackerFailure, "description": description}
    for status, description in {
        400: "`errors` says what is wrong",
        401: "No key, or one that is not known",
        403: "The key lacks the scope",
        404: "There is no such project",
        413: "The body is larger than the service takes",
        429: "Wait as long as `Retry-After` says",
        500: "A fault of the service; nothing was changed",
        503: "Try again as `Retry-After` says; nothing was changed",
    }.items()
}


def _reads(model: type[BaseModel]) -> dict[str, object]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": body_of(model)}}}}


@router.post(
    "/customers", response_model=TrackerDone, responses=FAILURES, openapi_extra=_reads(TrackedCustomer)
)
async def track_customer(
    project: Project, request: Request, engine: Engine, sign_ins: Signing, caller: Tracker
) -> Response:
    """Set properties of a customer, who is made if not yet known.

    An alias that comes with `registered` for the first time makes whoever it stood for this customer, with all that
    was given to them.
    """
    command = _command("customers", await _json(request))
    return _answer(await carry_out(engine, sign_ins, caller, project_of(project), [command]))


@router.post(
    "/customers/events", response_model=TrackerDone, responses=FAILURES, openapi_extra=_reads(TrackedEvent)
)
async def track_customer_event(
    project: Project, request: Request, engine: Engine, sign_ins: Signing, caller: Tracker
) -> Response:
    """Store an event, and redeem the codes in it as the redemption mapping says.

    The same event again (customer, type, timestamp and properties) changes nothing.
    """
    command = _command("customers/events", await _json(request))
    return _answer(await carry_out(engine, sign_ins, caller, project_of(project), [command]))


@router.post("/batch", response_model=TrackerResults, responses=FAILURES, openapi_extra=_reads(TrackedBatch))
async def track_batch(
    project: Project, request: Request, engine: Engine, sign_ins: Signing, caller: Tracker
) -> Response:
    """Carry out up to 50 commands in one transaction; what is wrong with one does not keep the others back."""
    project = project_of(project)
    began = clock.timestamp()
    commands = _list_in(await _json(request))
    results: list[dict[str, object]] = []
    right: list[tuple[dict[str, object], Command]] = []
    for each in commands:
        result: dict[str, object] = {"success": True}
        results.append(result)
        try:
            command = _judged(each, result)
        except InvalidRequestError as error:
            result |= {"success": False, "errors": [fault["msg"] for fault in error.errors]}
            continue
        if command is not None:
            right.append((result, command))
    wanted = [command for _, command in right]
    done = await carry_out(engine, sign_ins, caller, project, wanted) if wanted else []
    for (result, _), fault in zip(right, done, strict=True):
        if fault is not None:
            result |= {"success": False, "errors": [fault]}
    return _reply({"success": True, "start_time": began, "end_time": clock.timestamp(), "results": results})


@router.get(
    "/system/time", response_model=TrackerTime, responses=FAILURES, dependencies=[requires(Scope.EVENTS)]
)
async def get_system_time(project: Project) -> Response:
    """Tell the time of the service, in UNIX seconds."""
    project_of(project)
    return _reply({"success": True, "time": clock.timestamp()})


@router.post(
    "/system/time", response_model=TrackerTime, responses=FAILURES, dependencies=[requires(Scope.EVENTS)]
)
async def tell_system_time(project: Project) -> Response:
    """Tell the time of the service, as some clients ask for it."""
    project_of(project)
    return _reply({"success": True, "time": clock.timestamp()})


async def _json(request: Request) -> object:
    """Return the body as JSON, whatever type it says it is of.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _wrong("Invalid JSON") from error


def _wrong(said: str) -> InvalidRequestError:
    return InvalidRequestError(said, [{"loc": ["body"], "msg": said}])


def _list_in(body: object) -> Sequence[object]:
    commands = body.get("commands") if isinstance(body, dict) else None
    if not isinstance(commands, list) or not 1 <= len(commands) <= MAX_COMMANDS:
        raise _wrong(f"commands: a list of 1 to {MAX_COMMANDS} commands is needed")
    return commands


def _judged(command: object, result: dict[str, object]) -> Command | None:
    """Return what is to be carried out for a command of a batch; its result is told what is known already.

    Raises:
        InvalidRequestError: it is none.
    """
    if not isinstance(command, dict):
        raise _wrong("a command is an object")
    id_ = command.get("command_id")
    if id_ is not None:
        try:
            result["command_id"] = COMMAND_ID.validate_python(id_)
        except ValidationError:
            raise _wrong("command_id: a text of 1 to 255 characters is needed") from None
    if command.get("name") == "system/time":
        result["time"] = clock.timestamp()
        return None
    return _command(command.get("name"), command.get("data"), None if id_ is None else str(id_))


def _command(name: object, data: object, command_id: str | None = None) -> Command:
    """Return a command to carry out.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        if name == "customers":
            customer = TrackedCustomer.model_validate(data)
            return Command(
                customer.customer_ids,
                dict(customer.properties or {}),
                None,
                customer.update_timestamp,
                command_id,
            )
        if name == "customers/events":
            event = TrackedEvent.model_validate(data)
            return Command(
                event.customer_ids,
                dict(event.properties or {}),
                event.event_type,
                event.timestamp,
                command_id,
            )
    except ValidationError as error:
        found = InvalidRequestError.from_errors(error.errors(include_url=False))
        said = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in found.errors
        ]
        raise InvalidRequestError(found.detail, [{"loc": ["body"], "msg": each} for each in said]) from error
    raise _wrong("name: 'customers', 'customers/events' or 'system/time' is needed")


def _answer(faults: Sequence[str | None]) -> Response:
    (fault,) = faults
    if fault is not None:
        raise _wrong(fault)
    return _reply({"success": True})


def _reply(body: Mapping[str, object]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
