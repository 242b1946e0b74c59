"""`/v1/imports` and `/v1/pools/{pool}/imports`."""

import asyncio
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response, status
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, TypeAdapter
from typing_extensions import TypedDict

from app.api import import_examples as examples
from app.api import import_streams as streams
from app.domain.imports import beginning, following, previews, service, undoing
from app.domain.imports.errors import (
    ImportEndedError,
    ImportNotFinishedError,
    ImportNotFoundError,
    ImportUndecidedError,
    TooManyPreviewsError,
    UnreadableError,
)
from app.domain.imports.following import TooManyFollowersError
from app.domain.imports.options import FormatIn, ImportCreate, ImportOptions, PreviewCreate
from app.domain.imports.preview_schemas import Preview
from app.domain.imports.schemas import IgnoredOut, ImportOut, ImportRecord, RejectOut, Undone
from app.domain.pools.errors import PoolNotFoundError
from app.domain.pools.schemas import PoolName
from app.platform.database import transaction
from app.platform.errors import (
    IdempotencyKeyReusedError,
    InvalidRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from app.platform.reachable import AddressForbiddenError
from app.web import body, filters, idempotency, openapi, pagination, rejects
from app.web.dependencies import Connection, Engine, Looking, Settings
from app.web.guard import Manager, Reader, permit_source
from app.web.headers import bearing
from app.web.problem_document import MEDIA_TYPE
from app.web.problems import problems
from app.web.redaction import import_seen_by
from app.web.slashes import whole

router = APIRouter(tags=["imports"])
KEY = TypeAdapter(tuple[datetime, uuid.UUID])
LINE = TypeAdapter(int)
"""What the cursors of the lists hold."""
MAX_WAIT = 60
UNREADABLE_BODY = (PayloadTooLargeError, UnsupportedMediaTypeError, InvalidRequestError)


REPLY = ("Location", "Preference-Applied", "Idempotency-Replayed")
BODIES = (ImportCreate, PreviewCreate)
"""Bodies that are read here, because they are either JSON or a form."""


class _Documented(TypedDict):
    openapi_extra: dict[str, object]


def _two_bodies(fields: type[FormatIn], whole: type[FormatIn], bodies: Mapping[str, object]) -> _Documented:
    """Return the documentation of a body that is either JSON or a form with a file."""
    file = "CSV or another text, XLSX, XLSB, XLS or ODS; plain, gzip, or a zip of one"
    content: dict[str, object] = {
        "application/json": {"schema": openapi.body_of(whole), "examples": bodies},
        body.FORM: {"schema": body.form_schema(fields, file)},
    }
    return {"openapi_extra": {"requestBody": {"required": True, "content": content}}}


@router.post(
    "/v1/imports/preview",
    response_model=Preview,
    responses=problems(
        *UNREADABLE_BODY, ImportUndecidedError, UnreadableError, AddressForbiddenError, TooManyPreviewsError
    ),
    **_two_bodies(FormatIn, PreviewCreate, {"text": examples.JSON_BODIES["text"]}),
)
async def preview_import(request: Request, settings: Settings, caller: Manager) -> dict[str, object]:
    """Return how a file or source would be read, what must be decided, and what looks wrong; nothing is imported.

    Of several sheets that hold something one has to be named: until then it is a 422 whose `choices` are the sheets.
    """
    if body.is_form(request):
        async with body.form(request, settings.max_upload_bytes) as (file, fields):
            options = body.validated(FormatIn, fields)
            return await asyncio.to_thread(previews.preview, file.file, options)
    wanted = await body.json(request, PreviewCreate)
    permit_source(caller, wanted.source)
    return await previews.preview_of(settings, caller.project_id, wanted.source, wanted)


@router.post(
    "/v1/pools/{pool}/imports",
    response_model=ImportOut,
    status_code=status.HTTP_202_ACCEPTED,
    responses={
        200: {
            "model": ImportOut,
            "description": "It has ended: with `Prefer: wait=N`",
            **bearing(200, *REPLY)[200],
        },
        **bearing(202, *REPLY),
        **examples.with_examples(
            problems(*UNREADABLE_BODY, ImportUndecidedError, UnreadableError, IdempotencyKeyReusedError),
            422,
            MEDIA_TYPE,
            examples.REFUSALS,
        ),
    },
    **_two_bodies(ImportOptions, ImportCreate, examples.JSON_BODIES),
)
async def create_import(
    pool: Annotated[PoolName, BeforeValidator(whole)],
    caller: Manager,
    request: Request,
    response: Response,
    engine: Engine,
    settings: Settings,
    prefer: Annotated[
        str,
        Header(alias="Prefer", description="`wait=N`: answer once it is done, within N seconds"),
    ] = "",
    idempotency_key: idempotency.Key = None,
) -> ImportRecord:
    """Import codes into a pool, which is made if it is not there. Once the reply is sent, the rows are safe.

    What the file does not show is asked, never guessed: which column holds the codes, or whether there is a header, is
    a 422 whose `choices` are the columns with their first values, or the first row; nothing is imported, and no pool
    made. Send it again with `column` or `has_header`. What is unlike the rest of the file (a footer, a sum, a heading
    further down, a placeholder) is set aside as `suspicious`, and can be taken afterwards. What is no list of rows (an
    HTML page, JSON, a PDF) is refused, and so are codes that a spreadsheet has rounded (`1.23457E+15`): with a 422
    where an upload or a text shows it in its first rows, else by the import, which fails with the same text.
    """
    seconds = _wait(prefer)
    if not following.has_room(engine):
        seconds = 0  # it is a preference
    begin = _begin_from_form if body.is_form(request) else _begin_from_json
    import_id, replayed = await begin(request, engine, settings, caller, pool, idempotency_key)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"/v1/imports/{import_id}"
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds}"
    found = await streams.until_ended(engine, import_id, seconds)
    if seconds and found.choices is not None:
        raise ImportUndecidedError(found.error or "", choices=found.choices, import_id=str(import_id))
    if seconds and found.status in service.ENDED:
        response.status_code = status.HTTP_200_OK
    return found


# No connection is held while a body comes in, however slowly that is.
async def _begin_from_form(
    request: Request, engine: Engine, settings: Settings, caller: Manager, pool: str, key: str | None
) -> tuple[uuid.UUID, bool]:
    """Begin the import of an upload; return its id, and whether the same key asked for it before."""
    async with body.form(request, settings.max_upload_bytes) as (file, fields):
        options = body.validated(ImportOptions, fields)
        await asyncio.to_thread(previews.look_at, file.file, options)
        digest = key and await asyncio.to_thread(body.digest_of, file.file)
        same = ["import", pool, options.model_dump(mode="json"), digest]
        async with transaction(engine) as connection:
            return await idempotency.id_once(
                *(connection, settings, caller, key, same),
                lambda: beginning.begin_from_file(connection, caller, pool, file.filename, file, options),
            )


async def _begin_from_json(
    request: Request, engine: Engine, settings: Settings, caller: Manager, pool: str, key: str | None
) -> tuple[uuid.UUID, bool]:
    """Begin the import of a source; return its id, and whether the same key asked for it before."""
    wanted = await body.json(request, ImportCreate)
    permit_source(caller, wanted.source)
    await asyncio.to_thread(previews.look_at_source, wanted.source, wanted)
    same = ["import", pool, wanted.model_dump(mode="json")]
    async with transaction(engine) as connection:
        return await idempotency.id_once(
            *(connection, settings, caller, key, same),
            lambda: beginning.begin_from_source(connection, caller, settings, pool, wanted.source, wanted),
        )


@router.get(
    "/v1/imports",
    response_model=pagination.Page[ImportOut],
)
async def list_imports(
    connection: Connection,
    caller: Reader,
    pool: Annotated[filters.PoolName | None, Query(description="Only imports into this pool")] = None,
    schedule_id: Annotated[uuid.UUID | None, Query(description="Only imports of this schedule")] = None,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[ImportRecord]:
    """List imports, the newest first."""
    start = pagination.decode(cursor, KEY)
    rows = await service.list_page(connection, pool, schedule_id, start, limit + 1)
    listed = pagination.page(rows, limit, lambda row: (row.created_at, row.id))
    return pagination.each(listed, lambda row: import_seen_by(caller, row))


@router.get(
    "/v1/imports/{import_id}",
    response_model=ImportOut,
    responses=problems(ImportNotFoundError),
)
async def get_import(import_id: uuid.UUID, connection: Looking, caller: Reader) -> ImportRecord:
    """Return an import: its status and its figures."""
    return import_seen_by(caller, await service.get(connection, import_id))


@router.get(
    "/v1/imports/{import_id}/rejects",
    response_model=pagination.Page[RejectOut],
    responses=problems(ImportNotFoundError) | {200: {"content": {"text/csv": {}}}},
)
async def list_import_rejects(
    import_id: uuid.UUID,
    connection: Connection,
    engine: Engine,
    request: Request,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> object:
    """List rows that did not become vouchers, by line. `Accept: text/csv` returns all of them as a file."""
    if "text/csv" in request.headers.get("accept", ""):
        await service.get(connection, import_id)
        return rejects.download(engine, import_id, caller)
    line = pagination.decode(cursor, LINE) or 0
    rows = await service.list_rejects(connection, import_id, line, limit + 1)
    listed = pagination.page(rows, limit, lambda row: row.line)
    return pagination.each(listed, lambda row: replace(row, value=caller.shown(row.value)))


@router.get(
    "/v1/imports/{import_id}/ignored",
    response_model=pagination.Page[IgnoredOut],
    responses=problems(ImportNotFoundError),
)
async def list_import_ignored(
    import_id: uuid.UUID,
    connection: Connection,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> object:
    """List rows whose code was in this pool already or stands in the file before, by line; 50,000 are kept."""
    line = pagination.decode(cursor, LINE) or 0
    rows = await service.list_ignored(connection, import_id, line, limit + 1)
    listed = pagination.page(rows, limit, lambda row: row.line)
    return pagination.each(listed, lambda row: replace(row, code=caller.shown(row.code)))


@router.post(
    "/v1/imports/{import_id}/accept-suspicious",
    response_model=ImportOut,
    responses=bearing(200, "Idempotency-Replayed")
    | problems(ImportNotFoundError, ImportNotFinishedError, PoolNotFoundError),
)
async def accept_suspicious_rows(
    import_id: uuid.UUID, caller: Manager, connection: Connection, keyed: idempotency.Once
) -> object:
    """Import the values that were set aside as suspicious; after a dry run none are imported.

    What is not valid yet comes at its `valid_from`. A row that tells that its code was given elsewhere stays set aside.
    """
    return await keyed.once(lambda: service.accept_suspicious(connection, caller, import_id))


@router.post(
    "/v1/imports/{import_id}/cancel",
    response_model=ImportOut,
    responses=bearing(200, "Idempotency-Replayed") | problems(ImportNotFoundError, ImportEndedError),
)
async def cancel_import(
    import_id: uuid.UUID, caller: Manager, connection: Connection, keyed: idempotency.Once
) -> object:
    """Cancel an import that is queued or under way; what it has imported so far stays, and can be undone."""
    return await keyed.once(lambda: service.cancel(connection, caller, import_id))


@router.post(
    "/v1/imports/{import_id}/undo",
    response_model=Undone,
    responses=bearing(200, "Idempotency-Replayed") | problems(ImportNotFoundError, ImportNotFinishedError),
)
async def undo_import(
    import_id: uuid.UUID, caller: Manager, engine: Engine, keyed: idempotency.OnceIn
) -> object:
    """Remove the vouchers of an import that are still available, except those that holds of campaigns need.

    The schedule that ran the import, if one did, is paused: its next run would bring the codes back. Some 20,000 codes
    go at a time, each lot in a transaction; what is broken off goes on when it is asked for again.
    """
    return await keyed.once_done(engine, lambda: undoing.undo(engine, caller, import_id))


@router.get(
    "/v1/imports/{import_id}/progress",
    response_class=StreamingResponse,
    responses=problems(ImportNotFoundError, TooManyFollowersError)
    | {
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "All was told: `EventSource` does not come back"},
    },
)
async def follow_import(
    import_id: uuid.UUID,
    engine: Engine,
    caller: Reader,
    last_event_id: Annotated[str, Header(description="Of who comes back: the last event that was had")] = "",
) -> Response:
    """Follow an import by server-sent events: `progress` whenever it has come on, and `end` when it has ended.

    `EventSource` comes back when the stream ends; once it has had the end, it is answered 204 and stays away.
    """
    following.check_room(engine)
    found = await following.read(engine, import_id)
    if last_event_id and streams.is_told(found, caller, last_event_id):
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        streams.events(engine, import_id, caller, last_event_id),
        media_type="text/event-stream",
        headers=headers,
    )


def _wait(prefer: str) -> int:
    """Return the seconds of `Prefer: wait=N` (RFC 7240); other preferences are none of ours.

    Raises:
        InvalidRequestError: it asks to wait, and not for a number of seconds.
    """
    asked = re.search(r"(?:^|[,;\s])wait\b\s*(?:=\s*\"?([^,;\"\s]*))?", prefer, re.IGNORECASE)
    if asked is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", asked[1] or ""):
        said = "`Prefer: wait=N` takes a whole number of seconds"
        raise InvalidRequestError(f"{said}.", [{"loc": ["header", "prefer"], "msg": said}])
    return min(int(asked[1]), MAX_WAIT)
