"""Messages on the wire."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StringConstraints, model_validator

from app.domain.persons.ids import CustomerId
from app.platform.errors import DomainError
from app.schema.texts import CampaignId, Identifier, Input, Properties
from app.schema.times import Time

MAX_RECIPIENTS = 10_000
MAX_PARTS = 20


def _whole(text: str) -> str:
    """Refuse half a surrogate pair, which JSON can say and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a template holds half a surrogate pair") from error
    return text


Template = Annotated[str, AfterValidator(_whole)]
PartName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,49}$")]


class Channel(StrEnum):
    """Through what a message goes out."""

    EMAIL = "email"
    SMS = "sms"
    MMS = "mms"
    PUSH = "push"
    WEBHOOK = "webhook"
    WEBLAYER = "weblayer"


HTML = frozenset({Channel.EMAIL, Channel.WEBLAYER})
"""Channels whose messages are HTML: what a template prints is escaped."""


class Mode(StrEnum):
    """What a message is made for."""

    SEND = "send"
    TEST = "test"
    PREVIEW = "preview"


class PreviewCode(StrEnum):
    """What a preview shows for a code."""

    NEXT = "next"
    SAMPLE = "sample"


class _Template(Input):
    mode: Mode = Field(default=Mode.SEND, description="`preview` shows a code and takes none")
    campaign_id: CampaignId | None = Field(default=None, description="`campaign.id` in the template")
    context: Properties = Field(default_factory=dict, description="`context` in the template")
    strict: StrictBool = Field(default=False, description="Whether a property that nobody set is an error")


class _Message(_Template):
    template: Template | None = Field(
        default=None,
        description="A Jinja template; either this or `parts`",
        examples=["Your code: {{ vouchers['spring_sale'].assign_available() }}"],
    )
    parts: dict[PartName, Template] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PARTS,
        description="The templates of one message by part, such as `subject`, `html`, `text`: `html` is escaped,"
        " nothing else is, and all show the same code",
        examples=[{"subject": "For {{ customer.first_name }}", "html": "<p>{{ customer.first_name }}</p>"}],
    )
    preview_code: PreviewCode = Field(
        default=PreviewCode.NEXT,
        description="In a preview: `next` shows a code that is available, `sample` one of its shape that is made up",
    )

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.template is None) == (self.parts is None):
            raise ValueError("give either 'template' or 'parts'")
        return self


class RenderRequest(_Message):
    """A message to make."""

    channel: Channel = Field(description="HTML is escaped in email and weblayer")
    customer_id: CustomerId | None = Field(default=None, description="Customer")
    customer: Properties = Field(
        default_factory=dict, description="`customer` in the template, over the stored properties"
    )
    message_id: Identifier | None = Field(
        default=None, description="Id of the message; a repeat for the same customer gets the same codes"
    )


class Recipient(Input):
    """To whom a message of a batch goes."""

    customer_id: CustomerId = Field(description="Customer")
    message_id: Identifier | None = Field(default=None, description="As in a single message")
    customer: Properties = Field(
        default_factory=dict, description="Properties for this message; override the stored ones"
    )
    context: Properties = Field(
        default_factory=dict, description="Context of this message; overrides the batch's context"
    )


class RenderBatch(_Message):
    """A message to make for many."""

    channel: Channel = Field(description="HTML is escaped in email and weblayer")
    recipients: list[Recipient] = Field(
        min_length=1, max_length=MAX_RECIPIENTS, description=f"Up to {MAX_RECIPIENTS:,}"
    )


class NodeRequest(_Template):
    """A JSON body written as a template."""

    template: Template = Field(
        description="A Jinja template that renders to a JSON object; the filter `json` writes a value",
        examples=["{\"voucher\": {{ vouchers['spring_sale'].assign_available() | json }}}"],
    )
    message_id: Identifier | None = Field(
        default=None, description="Id of the message; a repeat gets the same codes and stores nothing twice"
    )


class EventBody(Input):
    """What the template of an event node renders to."""

    event_type: Identifier
    properties: Properties = Field(default_factory=dict)
    event_id: Identifier | None = None
    timestamp: Time | None = None


class VoucherUsed(BaseModel):
    """A code that a message shows."""

    pool: str | None = Field(description="The pool that it is really from; null for a `default`")
    code: str = Field(description="The code")
    occurrence: int = Field(description="0 for the cached one, from 1 on for those of `cached=False`")
    attributes: dict[str, str] | None = Field(default=None, description="What comes with the code, as a PIN")
    preview: bool = Field(default=False, description="True where the code is only shown, and not given")


class RenderOut(BaseModel):
    """A message."""

    rendered: str | None = Field(
        description="The text; null where it is not to be displayed, and for a message of `parts`"
    )
    parts: dict[str, str] | None = Field(
        default=None, description="The text of each part, where the request has `parts`"
    )
    displayed: bool = Field(description="False for a weblayer whose pool has run out")
    message_id: str = Field(description="Id of the message; a render with the same id gets the same codes")
    vouchers: list[VoucherUsed] = Field(description="The codes in it, in the order of first use")
    undefined: list[str] = Field(description="Properties that the template read and nobody had set")
    status: Literal["rendered", "not_displayed", "aborted"] = Field(description="Result")
    reason: str | None = Field(description="Why the template aborted it")


class BatchItemOut(BaseModel):
    """What became of one recipient's message."""

    index: int = Field(description="Place in the request, from 0")
    repeat_of: int | None = Field(
        description="For a repeated customer without ids: the index of the first time"
    )
    status: Literal["rendered", "enqueue_failed", "not_displayed", "aborted", "failed"] = Field(
        description="Result"
    )
    customer_id: str = Field(description="Customer")
    message_id: str = Field(description="Id of the message; a render with the same id gets the same codes")
    rendered: str | None = Field(description="The text")
    parts: dict[str, str] | None = Field(
        default=None, description="The text of each part, where the request has `parts`"
    )
    vouchers: list[VoucherUsed] = Field(description="The codes in it")
    undefined: list[str] = Field(description="Properties that the template read and nobody had set")
    problem: dict[str, object] | None = Field(description="Why there is no text: type, title, detail, …")


class RenderBatchOut(BaseModel):
    """What became of a batch."""

    repeats: int = Field(description="Number of repeated recipients, who got the message of the first time")
    items: list[BatchItemOut] = Field(description="In the order of the request")


class NodeOut(BaseModel):
    """What a node stored."""

    stored: dict[str, object] | list[dict[str, object]] = Field(
        description="Rendered body; a preview stores nothing"
    )
    message_id: str = Field(description="Id of the message; a render with the same id gets the same codes")
    vouchers: list[VoucherUsed] = Field(description="The codes in it")


class Snippet(BaseModel):
    """Lines ready to paste."""

    jinja: str = Field(description="For a template")
    curl: str = Field(description="For a shell; the key is in $VOUCHERS_KEY")


class Snippets(BaseModel):
    """Lines for one pool."""

    assign: Snippet = Field(description="One code per message and customer")
    assign_without_cache: Snippet = Field(description="A new code at each call")
    once_per_customer: Snippet = Field(
        description="The same code at every view, without a `message_id`: a rule of the pool, set once"
    )
    link: Snippet = Field(description="The code in a link")
    count_available: Snippet = Field(description="How many can be drawn")
    count_total: Snippet = Field(description="How many there are")


StillThere = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Part:
    """A template of a message, by its name; without a name it is the whole message."""

    name: str | None
    source: str
    html: bool
    """Whether what it prints is escaped."""


@dataclass(frozen=True, slots=True)
class RenderSpec:
    """What all messages of a campaign have in common."""

    parts: tuple[Part, ...]
    channel: Channel | None
    mode: Mode = Mode.SEND
    campaign_id: str | None = None
    context: dict[str, object] = field(default_factory=dict, compare=False)
    """Goes to each target, and so tells no two of these apart."""
    strict: bool = False
    """Whether a property that nobody set is an error."""
    sample: bool = False
    """Whether a preview shows made-up codes."""
    draws_again: bool = False
    """Whether what was released is drawn anew: it may have been taken back because the caller had gone."""

    @property
    def source(self) -> str:
        """Return the text of all parts."""
        parts = self.parts
        return parts[0].source if len(parts) == 1 else "\n".join(part.source for part in parts)


def parts_of(
    template: str | None, channel: Channel | None, parts: Mapping[str, str] | None = None
) -> tuple[Part, ...]:
    """Return what a request asks to render: HTML is the part `html`, or the template of an HTML channel."""
    if parts is None:
        return (Part(None, template or "", channel in HTML),)
    return tuple(Part(name, source, name == "html") for name, source in parts.items())


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with an `Idempotency-Key`: what the key stands for, and what the request says."""

    id: uuid.UUID
    digest: str
    is_first: bool = False
    """Whether the key was made for this request, so that no other can have come before."""


@dataclass(frozen=True, slots=True)
class MessageTarget:
    """For whom a message is made. `is_new`: its id was made just now, so nothing was given for it before."""

    customer_id: str | None
    message_id: str
    is_new: bool
    customer: dict[str, object] = field(default_factory=dict)
    context: dict[str, object] = field(default_factory=dict)
    still_there: StillThere | None = None
    """Whether somebody still waits for the message, asked before anything is taken for it."""
    request: KeyedRequest | None = None
    names: tuple[str, ...] = ()
    """The customer's ids, where there are several: the one that was asked for first."""

    @property
    def asked_for(self) -> str | None:
        """Return the customer's id as the caller names it."""
        return self.names[0] if self.names else self.customer_id


@dataclass(frozen=True, slots=True)
class Outcome:
    """A message, or why there is none."""

    target: MessageTarget
    rendered: str | None = None
    parts: dict[str, str] | None = None
    vouchers: list[dict[str, object]] = field(default_factory=list)
    error: DomainError | None = None
    undefined: list[str] = field(default_factory=list)
    """Properties that the template read and nobody had set."""
    taken: list[uuid.UUID] = field(default_factory=list)
    """The assignments that were made for it now."""
