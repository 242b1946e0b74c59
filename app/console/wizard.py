"""*New import*, in the guide's steps. All that was chosen is carried from step to step by the form itself."""

import asyncio
import io
import uuid
from collections.abc import Mapping
from datetime import datetime

import orjson
from fastapi import APIRouter, Response
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile

from app.console import sealed, spool
from app.console.once import once, sent_before
from app.console.pages import json_of, path, see, show, whole, wrong
from app.console.pages import model as checked
from app.console.session import Manager, ManagerForm, Visit
from app.domain.access.scopes import Scope
from app.domain.imports import beginning, previews, service
from app.domain.imports.errors import ImportUndecidedError
from app.domain.imports.options import FormatIn, ImportOptions
from app.domain.imports.schedules import service as schedules
from app.domain.imports.schedules.clock import next_run
from app.domain.imports.schedules.schemas import ScheduleCreate
from app.domain.imports.schemas import ImportRecord
from app.domain.imports.source_schemas import (
    AnalysisSource,
    DatabaseSource,
    RemoteSource,
    Source,
    StorageSource,
    UrlSource,
)
from app.domain.pools import service as pools
from app.domain.pools.schemas import PoolName
from app.platform.clock import clock
from app.platform.database import transaction
from app.platform.errors import DomainError, InvalidRequestError
from app.web.dependencies import Connection, Engine
from app.web.guard import permit

router = APIRouter(prefix="/imports/new")
NAME = TypeAdapter(PoolName)
SEALED = TypeAdapter(dict[str, object])
SOURCE: TypeAdapter[UrlSource | DatabaseSource | StorageSource | AnalysisSource] = TypeAdapter(RemoteSource)
SHEETS = TypeAdapter(list[str])
ANALYSIS = "analysis"
DAY = 24 * 60 * 60
WAIT_SECONDS = 15
STEPS = ("pool", "preview", "column", "schedule", "run")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "windows-1250", "windows-1252", "iso-8859-1", "iso-8859-2")
DELIMITERS = {",": "Comma ,", ";": "Semicolon ;", "\t": "Tab", "|": "Pipe |"}
EVERY = {"hour": "{minute} * * * *", "day": "{minute} {hour} * * *", "week": "{minute} {hour} * * {weekday}"}
PAST = ("customer_id_column", "assigned_at_column", "campaign_id_column", "redeemed_at_column")
CARRIED = (
    "pool", "source", "delimiter", "encoding", "has_header", "skip_lines", "sheet", "sheets", "column",
    "expires_at_column", "valid_from_column", "attribute", *PAST, "date_format", "timezone", "every", "at", "weekday",
    "cron",
)  # fmt: skip


@router.get("")
async def begin(visit: Manager, connection: Connection) -> Response:
    """Ask for pool and source."""
    return show(visit, "import_new.html", "", ("pool",), step="pool", pools=await _names(connection))


@router.post("")
async def go_on(visit: ManagerForm, engine: Engine) -> Response:
    """Go to the step that the button names."""
    step = visit.text("go")
    try:
        _pool(visit)
    except ValidationError as error:
        said = InvalidRequestError.from_errors(error.errors(), "body", "pool")
        return await _pool_step(visit, engine, said)
    try:
        token = visit.text("source") or await _new_source(visit)
        source = _source(visit, token)
    except DomainError as error:
        return await _pool_step(visit, engine, error)
    if step == "import":
        try:
            return await _run(visit, engine, source)
        except DomainError as error:
            return await _step(visit, engine, "run", token, source, error)
    return await _step(visit, engine, step if step in STEPS or step == "dry" else "preview", token, source)


async def _step(
    visit: Visit,
    engine: Engine,
    step: str,
    token: str,
    source: dict[str, object],
    error: DomainError | None = None,
) -> Response:
    """Show a step; where it cannot be shown, the one before it with what is wrong."""
    about: dict[str, object] = {"repeats": _repeats(source), "preview": None}
    try:
        about["preview"] = await _preview(visit, source)
    except DomainError as failed:
        asked = failed.choices if isinstance(failed, ImportUndecidedError) else {}
        if "sheet" in asked:
            about["sheets"] = [str(sheet["name"]) for sheet in asked["sheet"]]
        elif not asked and step == "preview" and not visit.text("redo"):
            return await _pool_step(visit, engine, failed)
        step, error = "preview", failed
    else:
        step, found, fault = await _what_to_show(visit, engine, source, step)
        about |= found
        error = fault or error
    about.setdefault("sheets", _sheets(visit))
    carried = {name: visit.text(name) for name in CARRIED} | {"source": token}
    carried |= {"attribute": ",".join(_attributes(visit)), "sheets": orjson.dumps(about["sheets"]).decode()}
    return show(
        visit,
        "import_new.html",
        step=step,
        carried=carried,
        source=source,
        error=error,
        encodings=ENCODINGS,
        delimiters=DELIMITERS,
        **about,
    )


async def _what_to_show(
    visit: Visit, engine: Engine, source: dict[str, object], step: str
) -> tuple[str, dict[str, object], DomainError | None]:
    """Return the step that can be shown of a source that was read, what it shows besides, and why it is another one."""
    found: dict[str, object] = {}
    if step == "schedule" and not _repeats(source):
        step = "run"
    try:
        if step in {"run", "dry"} and visit.given("every") and _repeats(source):
            found["times"] = _times(visit)
        if step in {"schedule", "run", "dry"} and (fault := _fault_of_columns(visit)) is not None:
            return "column", found, fault
        if step == "dry":
            found["dry"] = await _dry_run(visit, engine, source)
            step = "run"
    except DomainError as failed:
        return "schedule" if {"cron", "at", "timezone"} & set(_fields(failed)) else "run", found, failed
    return step, found, None


def _repeats(source: Mapping[str, object]) -> bool:
    """Tell whether a source can be fetched again by a schedule."""
    return source["type"] not in {"file", "text"}


async def _pool_step(visit: Visit, engine: Engine, error: DomainError) -> Response:
    async with transaction(engine) as connection:
        names = await _names(connection)
    return show(visit, "import_new.html", step="pool", pools=names, error=error)


def _pool(visit: Visit) -> str:
    """Return the name of the pool, as names are kept.

    Raises:
        ValidationError: no pool can be called so.
    """
    return NAME.validate_python(visit.text("pool"))


async def _names(connection: Connection) -> list[str]:
    return [pool.name for pool in await pools.search(connection, "", None, 200)]


async def _new_source(visit: Visit) -> str:
    """Return the source that was given, sealed; files and texts are kept on disk and sent no more."""
    kind = visit.text("type") or "file"
    if kind == "file":
        file = visit.form.get("file")
        if not isinstance(file, UploadFile) or not file.filename:
            raise wrong("file", "Choose a file.")
        name = await spool.keep(visit.settings, file.file)
        value: Mapping[str, object] = {"type": "file", "id": name, "name": file.filename}
    elif kind == "text":
        text = visit.text("text")
        if not text.strip():
            raise wrong("text", "Paste the codes, with a header in the first line.")
        name = await spool.keep(visit.settings, io.BytesIO(text.encode(errors="replace")))
        value = {"type": "text", "id": name, "name": "Pasted text"}
    else:
        value = _remote(visit, kind)
    return sealed.seal(visit.settings, "source", {**value, "key": str(visit.caller.key_id)})


def _remote(visit: Visit, kind: str) -> dict[str, object]:
    value: dict[str, object] = {"type": kind}
    if kind in {"url", "database", "storage"}:
        value["url"] = visit.text(f"{kind}_url").strip()
    if kind == "database":
        value["query"] = visit.text("query")
    if kind == "storage":
        value["options"] = json_of(visit, "options")
    if kind == ANALYSIS:
        value |= {"of": visit.text("of"), "property": visit.text("property")}
        value |= {"event_type": visit.given("event_type"), "where": json_of(visit, "where")}
    try:
        source: dict[str, object] = SOURCE.validate_python(value).model_dump(mode="json")
    except ValidationError as error:
        raise InvalidRequestError.from_errors(error.errors(), "body") from error
    return source


def _source(visit: Visit, token: str) -> dict[str, object]:
    """Return the source that a form carries.

    Raises:
        InvalidRequestError: it is not kept any more, or not for this key.
        ForbiddenError: it reads customers or events, and the key may not.
    """
    source = sealed.unseal(visit.settings, "source", token, DAY, SEALED)
    if source is None or source.pop("key") != str(visit.caller.key_id):
        raise wrong("file", "What was chosen is kept for a day. Choose it again.")
    if source["type"] == ANALYSIS:
        permit(visit.caller, Scope.EVENTS)
    if "id" in source and not spool.path_of(visit.settings, str(source["id"])).exists():
        raise wrong("file", "The file is not kept any more. Choose it again.")
    return source


def _format(visit: Visit) -> dict[str, object]:
    header = visit.given("has_header")
    values = {
        "encoding": visit.given("encoding"),
        "delimiter": visit.text("delimiter") or None,
        "has_header": None if header is None else header == "yes",
        "skip_lines": visit.given("skip_lines"),
        "sheet": visit.given("sheet"),
    }
    return {name: value for name, value in values.items() if value is not None}


def _sheets(visit: Visit) -> list[str]:
    """Return the sheets between which somebody had to choose, as the form carries them."""
    try:
        found = SHEETS.validate_json(visit.text("sheets") or "[]")
    except ValidationError:
        return []
    return found


def _attributes(visit: Visit) -> list[str]:
    """Return the columns that come with the code: ticked, or carried as a list with commas."""
    given = ",".join(value for value in visit.form.getlist("attribute") if isinstance(value, str))
    return [index for index in given.split(",") if isinstance(whole(index), int)]


async def _preview(visit: Visit, source: dict[str, object]) -> dict[str, object]:
    options = checked(FormatIn, _format(visit))
    if "id" in source:
        return await asyncio.to_thread(_preview_file, visit, str(source["id"]), options)
    wanted = SOURCE.validate_python(source)
    return await previews.preview_of(visit.settings, visit.caller.project_id, wanted, options)


def _preview_file(visit: Visit, name: str, options: FormatIn) -> dict[str, object]:
    with spool.path_of(visit.settings, name).open("rb") as file:
        return previews.preview(file, options)


def _options(visit: Visit) -> dict[str, object]:
    named = ("column", "expires_at_column", "valid_from_column", *PAST)
    chosen: dict[str, object] = {
        name: index for name in named if isinstance(index := whole(visit.given(name)), int)
    }
    if attributes := [int(index) for index in _attributes(visit) if index != visit.text("column")]:
        chosen["attribute_columns"] = attributes
    times = {name: visit.given(name) for name in ("date_format", "timezone")}
    return _format(visit) | chosen | times


def _fault_of_columns(visit: Visit) -> InvalidRequestError | None:
    """Return what is wrong with what was chosen in the step of the columns; None where nothing is."""
    if not visit.given("column"):
        return wrong("column", "Choose the column that holds the codes.")
    try:
        checked(ImportOptions, _options(visit))
    except InvalidRequestError as error:
        return error
    return None


async def _start(visit: Visit, engine: Engine, source: dict[str, object], *, dry_run: bool) -> uuid.UUID:
    options = checked(ImportOptions, _options(visit) | {"dry_run": dry_run})
    if "id" not in source:
        repeated = None if dry_run else _repeated(visit, source)
        if repeated is not None:
            await schedules.check_source(visit.settings, repeated.source)
        return await _start_fetch(visit, engine, SOURCE.validate_python(source), options, repeated)
    pool = _pool(visit)
    with spool.path_of(visit.settings, str(source["id"])).open("rb") as file:
        await asyncio.to_thread(previews.look_at, file, options)
        async with transaction(engine) as connection:
            begun = await once(
                connection,
                visit,
                lambda: beginning.begin_from_file(
                    connection, visit.caller, pool, str(source["name"]), spool.Spooled(file), options
                ),
                str,
            )
    return uuid.UUID(begun)


async def _start_fetch(
    visit: Visit, engine: Engine, source: Source, options: ImportOptions, repeated: ScheduleCreate | None
) -> uuid.UUID:
    """Begin an import that is fetched, and make the schedule that repeats it: both, or neither."""
    pool = _pool(visit)
    async with transaction(engine) as connection:

        async def begin() -> uuid.UUID:
            schedule_id = None
            if repeated is not None:
                schedule_id = (await schedules.create(connection, visit.caller, visit.settings, repeated)).id
            return await beginning.begin_from_source(
                connection, visit.caller, visit.settings, pool, source, options, schedule_id
            )

        return uuid.UUID(await once(connection, visit, begin, str))


def _repeated(visit: Visit, source: dict[str, object]) -> ScheduleCreate | None:
    """Return the schedule that is asked for; None where the import is to run once."""
    if not visit.given("every"):
        return None
    _times(visit)
    return checked(
        ScheduleCreate, _options(visit) | {"source": source, "pool": _pool(visit), "cron": _cron(visit)}
    )


async def _run(visit: Visit, engine: Engine, source: dict[str, object]) -> Response:
    if (fault := _fault_of_columns(visit)) is not None:
        raise fault
    begun = await sent_before(engine, visit) or await _start(visit, engine, source, dry_run=False)
    return see(path("imports", begun), "import-begun")


async def _dry_run(visit: Visit, engine: Engine, source: dict[str, object]) -> ImportRecord:
    """Run the import without keeping anything, and wait a little for its figures."""
    import_id = await _start(visit, engine, source, dry_run=True)
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while True:
        async with transaction(engine) as connection:
            found = await service.get(connection, import_id)
        if found.status in service.ENDED or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.2)


def _cron(visit: Visit) -> str:
    every = visit.text("every")
    if every == "cron":
        return visit.text("cron")
    hour, minute = (whole(part) for part in (visit.text("at") or "06:00").partition(":")[::2])
    if not (isinstance(hour, int) and isinstance(minute, int)):
        raise wrong("at", "Give a time such as 06:00.")
    weekday = visit.text("weekday") or "1"
    return EVERY.get(every, EVERY["day"]).format(minute=minute, hour=hour, weekday=weekday)


def _times(visit: Visit) -> list[datetime]:
    """Return the next five runs."""
    times = [clock.now()]
    try:
        for _ in range(5):
            times.append(next_run(_cron(visit), visit.text("timezone") or "UTC", times[-1]))
    except ValueError as error:
        field = "timezone" if "time zone" in str(error) else "cron"
        raise wrong(field, f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
    return times[1:]


def _fields(error: DomainError) -> list[str]:
    if not isinstance(error, InvalidRequestError):
        return []
    return [str(place) for item in error.errors for place in item["loc"]]
