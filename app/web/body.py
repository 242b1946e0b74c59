"""Bodies with a file: a form with fields, or JSON instead. Read only after the caller is known."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import BinaryIO, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from app.platform.errors import InvalidRequestError, UnsupportedMediaTypeError
from app.web import given_twice, unknown_fields
from app.web.body_limit import allow

Model = TypeVar("Model", bound=BaseModel)

FORM = "multipart/form-data"
BLOCK = 1024**2
NO_TEXT = "The form is no text in the charset that it names: send UTF-8."


def is_form(request: Request) -> bool:
    """Return whether the request brings a file.

    Raises:
        UnsupportedMediaTypeError: it brings neither a form nor JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {FORM, "application/json"}:
        raise UnsupportedMediaTypeError(f"Send {FORM} with a `file`, or JSON; not {kind!r}.")
    return kind == FORM


def form_schema(fields: type[BaseModel], file: str) -> dict[str, object]:
    """Return the documentation of a form with a file, which `file` describes, and these fields."""
    schema = fields.model_json_schema()
    schema["properties"]["file"] = {"type": "string", "format": "binary", "description": file}
    return schema | {"required": ["file"]}


@asynccontextmanager
async def fields_of(
    request: Request, max_files: int, max_fields: int, max_part_size: int = BLOCK
) -> AsyncIterator[FormData]:
    """Give the fields of a form; whoever sends it says in which charset, and may say anything.

    Raises:
        InvalidRequestError: it cannot be read, or holds what is no text.
    """
    try:
        fields = await request.form(max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)
    except HTTPException as error:
        raise InvalidRequestError.of_body(f"The form cannot be read: {error.detail}") from error
    except UnicodeError as error:
        raise InvalidRequestError.of_body(NO_TEXT) from error
    try:
        _check_texts(fields)
        yield fields
    finally:
        await fields.close()


def _check_texts(fields: FormData) -> None:
    try:
        for name, value in fields.multi_items():
            name.encode()
            (value if isinstance(value, str) else value.filename or "").encode()
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise InvalidRequestError.of_body(NO_TEXT) from error


@asynccontextmanager
async def form(request: Request, limit: int) -> AsyncIterator[tuple[UploadFile, FormData]]:
    """Give the file, which lies on disk if it is large, and the other fields.

    Raises:
        InvalidRequestError: it cannot be read, has no file, or gives a field more than once.
    """
    allow(request, limit)
    async with fields_of(request, max_files=1, max_fields=20) as fields:
        file = fields.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidRequestError("The form has no file.", [{"loc": ["body", "file"], "msg": "missing"}])
        given_twice.refuse([["body", name[:100]] for name in fields if len(fields.getlist(name)) > 1])
        yield file, fields


def digest_of(file: BinaryIO) -> str:
    """Return what tells a file from another. It blocks."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


def not_json(said: str, line: int, column: int) -> InvalidRequestError:
    """Return the error for a body that is no JSON, with the place where it ends to be."""
    detail = f"The body is not JSON: {said}, at line {line}, column {column}."
    return InvalidRequestError(detail, [{"loc": ["body"], "msg": said, "line": line, "column": column}])


async def json(request: Request, model: type[Model]) -> Model:
    """Return the body as `model`."""
    try:
        values = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise not_json(error.msg, error.lineno, error.colno) from error
    return validated(model, values)


def validated(model: type[Model], values: object) -> Model:
    """Return the values as `model`; empty form fields count as left out.

    Raises:
        InvalidRequestError: they are not such; it says which.
    """
    if isinstance(values, Mapping) and not isinstance(values, dict):
        values = {name: value for name, value in values.items() if name != "file" and value}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = unknown_fields.named(error.errors(include_url=False), [model])
        raise InvalidRequestError.from_errors(errors, "body") from error
