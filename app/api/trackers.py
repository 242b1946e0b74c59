"""`/track/v2`: what Exponea's clients send, as they send it."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel

from app.api.tracker_bodies import body_of_request, command_of, commands_in, judged, wrong
from app.domain.access.scopes import Caller, Scope
from app.domain.tracking.commands import Command
from app.domain.tracking.gathering import Gathering
from app.domain.tracking.projects import check_project
from app.domain.tracking.trackers import (
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
from app.web.dependencies import held_for_project
from app.web.headers import Responses
from app.web.openapi import body_of
from app.web.trackers import requires

router = APIRouter(prefix="/track/v2/projects/{project:id}", tags=["trackers"])
BODIES = (TrackedCustomer, TrackedEvent, TrackedBatch)
"""Models of bodies that routes read by themselves."""
Gathered = Annotated[Gathering, held_for_project(Gathering)]
Tracker = Annotated[Caller, requires(Scope.EVENTS)]
Project = Annotated[
    str, Path(description="Name of the project that the key belongs to", examples=["default"])
]
FAILURES: Responses = {
    status: {"model": TrackerFailure, "description": description}
    for status, description in {
        400: "`errors` says what is wrong",
        401: "No key, or one that is not known",
        403: "The key lacks the scope",
        404: "The project is not that of the key",
        413: "The body is larger than the service takes",
        429: "Wait as long as `Retry-After` says",
        500: "A fault of the service",
        503: "Try again as `Retry-After` says; what was done is known again",
    }.items()
}


def _reads(model: type[BaseModel]) -> dict[str, object]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": body_of(model)}}}}


@router.post(
    "/customers", response_model=TrackerDone, responses=FAILURES, openapi_extra=_reads(TrackedCustomer)
)
async def track_customer(
    project: Project, request: Request, gathering: Gathered, caller: Tracker
) -> Response:
    """Set properties of a customer, who is made if not yet known.

    An alias that comes with `registered` for the first time makes whoever it stood for this customer, with all that
    was given to them.
    """
    check_project(caller, project)
    command = command_of("customers", await body_of_request(request))
    return _answer(await gathering.carry_out(caller, [command]))


@router.post(
    "/customers/events", response_model=TrackerDone, responses=FAILURES, openapi_extra=_reads(TrackedEvent)
)
async def track_customer_event(
    project: Project, request: Request, gathering: Gathered, caller: Tracker
) -> Response:
    """Store an event, and redeem the codes in it as the redemption mapping says.

    The same event again (customer, type, timestamp and properties) changes nothing.
    """
    check_project(caller, project)
    command = command_of("customers/events", await body_of_request(request))
    return _answer(await gathering.carry_out(caller, [command]))


@router.post("/batch", response_model=TrackerResults, responses=FAILURES, openapi_extra=_reads(TrackedBatch))
async def track_batch(project: Project, request: Request, gathering: Gathered, caller: Tracker) -> Response:
    """Carry out up to 50 commands in one transaction; what is wrong with one does not keep the others back."""
    check_project(caller, project)
    began = clock.timestamp()
    commands = commands_in(await body_of_request(request))
    results: list[dict[str, object]] = []
    right: list[tuple[dict[str, object], Command]] = []
    for each in commands:
        result: dict[str, object] = {"success": True}
        results.append(result)
        try:
            command = judged(each, result)
        except InvalidRequestError as error:
            result |= {"success": False, "errors": [fault["msg"] for fault in error.errors]}
            continue
        if command is not None:
            right.append((result, command))
    wanted = [command for _, command in right]
    done = await gathering.carry_out(caller, wanted) if wanted else []
    for (result, _), fault in zip(right, done, strict=True):
        if fault is not None:
            result |= {"success": False, "errors": [fault]}
    return _reply({"success": True, "start_time": began, "end_time": clock.timestamp(), "results": results})


@router.get("/system/time", response_model=TrackerTime, responses=FAILURES)
async def get_system_time(project: Project, caller: Tracker) -> Response:
    """Tell the time of the service, in UNIX seconds."""
    check_project(caller, project)
    return _reply({"success": True, "time": clock.timestamp()})


@router.post("/system/time", response_model=TrackerTime, responses=FAILURES)
async def tell_system_time(project: Project, caller: Tracker) -> Response:
    """Tell the time of the service, as some clients ask for it."""
    check_project(caller, project)
    return _reply({"success": True, "time": clock.timestamp()})


def _answer(faults: Sequence[str | None]) -> Response:
    return Response(done(faults), media_type="application/json")


def done(faults: Sequence[str | None]) -> bytes:
    """Return the answer to a single command that was carried out.

    Raises:
        InvalidRequestError: it was not.
    """
    (fault,) = faults
    if fault is not None:
        raise wrong(fault)
    return b'{"success":true}'


def _reply(body: Mapping[str, object]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
