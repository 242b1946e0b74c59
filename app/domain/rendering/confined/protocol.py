"""What the service and a render process say to each other, as JSON."""

import struct
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypeAlias, TypedDict

HEADER = struct.Struct("!I")
GRACE = 0.5
"""The process ends so many seconds of processor time after those that a message may take."""
SHARED_BY = 250
JOB_SHARE = 5
"""All messages of a job together may take so many times what one may: others wait for the process."""

Given: TypeAlias = Mapping[str, Mapping[str, str | bool | None]]
"""What a message was given before, by pool and occurrence: the code, None where it no longer holds, false where it
was voided since."""

UseAsJson: TypeAlias = tuple[str | None, str, str, int, bool]
"""A code in a message: pool (None for a default), key, code, occurrence, and whether it is new."""

Places: TypeAlias = dict[str, dict[str, list[int]]]
"""By part of the message and pool: the places of uncached calls, in their order."""


class Limit(TypedDict):
    """What a pool's rule leaves to a customer."""

    left: int
    code: str | None
    refuse: bool


class PoolSupply(TypedDict):
    """What the messages may draw from one pool."""

    codes: Sequence[str]
    """Locked and free."""
    valid_for: int
    short: str | None
    """The problem where there are no more."""
    looked_up: int
    """The highest occurrence that was looked up."""
    counts: Mapping[str, int] | None
    similar: Sequence[str] | None
    """The nearest names where there is no such pool."""
    limits: dict[str, Limit] | None


class AggregateSupply(TypedDict, total=False):
    """Of an aggregate: nothing where it is there, and the nearest names where it is not."""

    similar: Sequence[str]


class CountSeen(TypedDict):
    """A count that a message saw, and the occurrences that it had been given before."""

    available: int
    total: int
    old: list[int]


class Seen(TypedDict, total=False):
    """What a message saw when it was made."""

    counts: dict[str, CountSeen]
    passed: list[list[str | int]]
    time: float
    places: Places
    erased: bool
    """Whether its customer was erased since: it is not made again."""


class NeedsAsJson(TypedDict):
    """What messages need."""

    codes: Mapping[str, int]
    occurrences: Mapping[str, int]
    counts: Sequence[str]
    valid_for: NotRequired[Mapping[str, int]]
    aggregates: Sequence[str]
    seen: bool


class Item(TypedDict):
    """One message of a job."""

    message: str
    customer_id: str | None
    new: bool
    context: NotRequired[dict[str, object]]
    customer: NotRequired[dict[str, object]]
    aggregates: NotRequired[dict[str, object]]
    given: NotRequired[Given]
    seen: NotRequired[Seen | None]


class About(TypedDict):
    """What all messages of a job have in common."""

    parts: Sequence[tuple[str | None, str, bool]]
    """Name, source, and whether it is HTML."""
    preview: bool
    strict: bool
    time: float
    context: dict[str, object]
    campaign_id: str | None
    channel: str | None
    aggregates: Mapping[str, AggregateSupply]
    about: NotRequired[Mapping[str, Mapping[str, object]]]
    """By code, what templates may ask of it."""


class Job(About):
    """Messages to render, and what they are rendered from."""

    pools: Mapping[str, PoolSupply]
    seen_known: bool
    items: Sequence[Item]


class Limits(TypedDict):
    """What a message may take."""

    seconds: float
    vouchers: int
    iterations: int
    output_bytes: int


class Problem(TypedDict):
    """Why a message or a template is refused."""

    name: str
    detail: str
    line: int | None
    column: NotRequired[int]
    part: NotRequired[str]
    pool: NotRequired[str]
    occurrence: NotRequired[int]
    similar: NotRequired[Sequence[str]]


class Result(TypedDict, total=False):
    """A message, or why there is none; `gone`: nobody waits for it any more."""

    error: Problem
    gone: bool
    texts: list[str]
    uses: list[UseAsJson]
    seen: Seen
    undefined: list[str]


class Answer(TypedDict, total=False):
    """The answer to a job: `results`, unless something is lacking, and `needs`; or why the template is `refused`."""

    refused: Problem
    results: list[Result]
    needs: NeedsAsJson
