"""`/problems/{name}`: what a kind of problem means, and what to do about it. A problem's `type` leads here."""

from html import escape
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from app.platform.errors import DomainError, NotFoundError
from app.web.problems import problems

router = APIRouter(tags=["operation"])

REMEDIES = {
    "aborted": "Nothing to do: the template does not want this message sent. `reason` says why; no code was taken.",
    "address-forbidden": "Name a public address, or have the operator add the host to `VOUCHERS_ALLOWED_HOSTS`.",
    "aggregate-not-found": "Look at the name; `similar` holds the nearest ones. `PUT /v1/aggregates/{name}` makes one.",
    "alert-not-found": "Set the pool's alerts with `PUT /v1/pools/{pool}/alerts`.",
    "already-redeemed": "The code was used; `GET /v1/vouchers/{code}` tells when and by whom. Assign another one.",
    "api-key-not-found": "Look at the id in `GET /v1/api-keys`; the key may have been revoked.",
    "assignment-not-found": "Look at the id. It is in the reply to the assignment and in `GET /v1/assignments`.",
    "assignment-released": "The code went back to the pool. Ask with a new key or message to get another one.",
    "bad-request": "Send HTTP/1.1 as RFC 9112 has it: one length, one `Host`, no line that is broken.",
    "bulk-change-ended": "Look at what it did with `GET /v1/bulk-changes/{id}`; ask for another one to go on.",
    "bulk-change-not-found": "Look at the id in `GET /v1/bulk-changes`.",
    "client-closed-request": "Nobody waited for the reply. Nothing was taken; send the request again.",
    "conflict": "Send the same request again; nothing was changed.",
    "customer-limit": "`GET /v1/assignments` tells what the customer has; `PATCH /v1/pools/{pool}` changes the rule.",
    "customer-not-found": "Nothing is known of this customer yet. `PATCH /v1/customers/{customer_id}` makes one.",
    "database-draining": "Name another database, or none: then the one with most room gets the project.",
    "database-not-found": "Look at the names in `vouchers database list`; the control database is `main`.",
    "database-unavailable": "Wait as long as `Retry-After` says and send the same request again, with the same key.",
    "expired": "The code is past its expiry. Assign another one.",
    "forbidden": "Use a key that holds one of the scopes that `scopes` names.",
    "header-too-large": "Send a head of 64 KiB and 100 lines at most: fewer cookies, shorter headers.",
    "hold-exists": "Delete the campaign's hold first, then make the new one.",
    "hold-not-found": "Look at the id in `GET /v1/pools/{pool}/holds`; the hold may have ended.",
    "hold-too-large": "Import as many codes as `missing` says, or hold fewer.",
    "idempotency-key-reused": "Send the request that the key was used for, or a new key for a new request.",
    "import-cancelled": "Import again, where it was not meant to be cancelled.",
    "import-ended": "Undo it, where it brought codes: `POST /v1/imports/{id}/undo`.",
    "import-not-finished": "Wait until the import has ended: `GET /v1/imports/{id}`.",
    "import-not-found": "Look at the id in `GET /v1/imports`.",
    "import-undecided": "`choices` holds the answers: send the import again with the one that is right as an option.",
    "internal-error": "This is a fault of the service. Send the request again, and report its `request_id`.",
    "invalid-request": "`errors` says what is wrong and where. Correct it and send the request again.",
    "method-not-allowed": "The header `Allow` names the methods of this path.",
    "no-room": "Make room on the disk that the detail names, or of the database. Then send the same request again.",
    "not-found": "Look at the path; `/docs` lists them all.",
    "overloaded": "More requests wait than can be answered in time. Try again after `Retry-After`.",
    "payload-too-large": "Send less at once, or have the operator raise the limit.",
    "pool-busy": "All that is left is locked by others right now. Try again after `Retry-After`.",
    "pool-exhausted": "Import more codes, use a fallback pool, or release what was not sent.",
    "pool-exists": "Use the pool that is there, or another name.",
    "pool-has-schedules": "Delete or pause the schedules that `schedules` names, then the pool.",
    "pool-not-empty": "Void what is left if nobody is to get it; an import that nobody drew from can be undone.",
    "pool-not-found": "Look at the name; `similar` holds the nearest ones. An import makes a pool that is not there.",
    "precondition-failed": "Read it again, join both changes, and send them with the new `ETag` as `If-Match`.",
    "renderer-unavailable": "Wait as long as `Retry-After` says and send the request again, with the same message id.",
    "project-deleting": "Wait until it is gone (`GET /v1/projects/{project}` answers 404); then its name is free.",
    "project-moving": "Send the same request again, with the same key: the move takes a moment; nothing was changed.",
    "project-exists": "Use the project that is there, or another name; one being deleted keeps its name to the end.",
    "project-not-found": "A tracker's path bears the name of its key's project; an operator asks `GET /v1/projects`.",
    "project-stays": "Make another project with `POST /v1/projects`, and leave the first one as it is.",
    "request-timeout": "Send head and body without long pauses.",
    "schedule-not-found": "Look at the id in `GET /v1/import-schedules`.",
    "stopping": "Wait as long as `Retry-After` says and send the same request again, with the same key or message id.",
    "target-too-long": "Send 8 KiB of path and query at most; what is long goes into a body.",
    "template-error": "`line` says where the template is wrong. Correct it; no code was taken.",
    "template-limit": "Make the template shorter, quicker, or print less; no code was taken.",
    "too-many-connections": "Keep connections open and send several requests over each; try again after `Retry-After`.",
    "too-many-webhooks": "Delete a webhook that nobody needs: `DELETE /v1/webhooks/{id}`.",
    "too-many-requests": "Wait as long as `Retry-After` says; send fewer requests a minute, or several things in one.",
    "unauthenticated": "Send a key that is valid: `Authorization: Bearer KEY`.",
    "unreadable-source": "The detail says what is wrong with the file or source, and where. No code was imported; of a"
    " file of customers the part before that place may be. Correct it, and send it whole.",
    "unsupported-media-type": "Send the body as the type that the detail names.",
    "void": "The code was taken out. Assign another one.",
    "voucher-not-available": "Give another code, or leave `code` out; `GET /v1/vouchers/{code}` tells who has it.",
    "voucher-not-found": "No pool holds this code. Look for typing errors, or import it.",
    "webhook-not-found": "Look at the id in `GET /v1/webhooks`.",
}
"""What to do, by name of the problem."""

NO_ERRORS = {
    "bad-request": (400, "Bad Request", "What came is no HTTP request, or could be read as two."),
    "header-too-large": (431, "Request Header Fields Too Large", "The head of the request is too large."),
    "internal-error": (500, "Internal error", "The service failed."),
    "method-not-allowed": (405, "Method Not Allowed", "The path has no such method."),
    "request-timeout": (408, "Request Timeout", "The request did not come in within its time."),
    "target-too-long": (414, HTTPStatus.REQUEST_URI_TOO_LONG.phrase, "Path and query are too long."),
    "too-many-connections": (
        503,
        "Service Unavailable",
        "The process, or the address, has all its connections.",
    ),
}
"""Problems that no error of the domain stands for: of the framework, and of the protocol (`app/server/refusals.py`)."""


class ProblemKind(BaseModel):
    """A kind of problem."""

    name: str = Field(description="Last part of the problem's `type`")
    status: int = Field(description="HTTP status")
    title: str = Field(description="The kind of problem in words")
    meaning: str = Field(description="When it occurs")
    remedy: str = Field(description="What to do about it")


def kinds() -> dict[str, ProblemKind]:
    """Return every kind of problem that the service can answer with, by name."""
    found = {
        name: ProblemKind(name=name, status=status, title=title, meaning=meaning, remedy=REMEDIES[name])
        for name, (status, title, meaning) in NO_ERRORS.items()
    }
    waiting = list(DomainError.__subclasses__())
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if error.name not in found or "name" in vars(error):
            meaning = (error.__doc__ or "").strip().splitlines()[0]
            found[error.name] = ProblemKind(
                name=error.name,
                status=error.status,
                title=error.title,
                meaning=meaning,
                remedy=REMEDIES.get(error.name, ""),
            )
    return dict(sorted(found.items()))


@router.get(
    "/problems/{name}",
    response_model=ProblemKind,
    responses={
        200: {"content": {"text/html": {}}, "description": "The page, or JSON where it is asked for"},
        **problems(NotFoundError),
    },
)
async def explain_problem(
    name: Annotated[str, Path(description="Name of the problem", examples=["pool-exhausted"])],
    request: Request,
) -> Response:
    """Explain a kind of problem: when it occurs, and what to do about it."""
    kind = kinds().get(name)
    if kind is None:
        raise NotFoundError(f"There is no problem named {name!r}.")
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_page(kind))
    return JSONResponse(kind.model_dump())


def _page(kind: ProblemKind) -> str:
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(kind.title)}</title>
<h1>{escape(kind.title)}</h1>
<p><code>{escape(kind.name)}</code>, HTTP status {kind.status}</p>
<p>{escape(kind.meaning)}</p>
<h2>What to do</h2>
<p>{escape(kind.remedy)}</p>
</html>
"""
