"""What an event says of a code, and what that is worth: functions of their arguments alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from app.domain.redemptions.schemas import USED_OUTCOMES, Effect, Normalise, Outcome, Use
from app.schema.base import VoucherStatus
from app.schema.inventory import MAX_CODE_LENGTH
from app.schema.texts import clean_code

MAX_CODES = 100
"""Most codes that one mapped property of an event may hold."""


@dataclass(frozen=True, slots=True)
class MappedProperty:
    """Where events of a type hold codes, and what that says of them."""

    path: str
    effect: Effect
    normalise: Normalise | None


def values_at(properties: Mapping[str, object], path: str) -> Iterator[tuple[str, object]]:
    """Yield what stands at a path, each with its own path; `[*]` stands for each element of a list."""
    if path in properties:
        yield path, properties[path]
        return
    yield from _values(properties, path.replace("[*]", ".[*]").lstrip(".").split("."), "")


def _values(value: object, steps: Sequence[str], place: str) -> Iterator[tuple[str, object]]:
    if not steps:
        yield place, value
        return
    step, rest = steps[0], steps[1:]
    if step == "[*]":
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _values(item, rest, f"{place}[{index}]")
    elif isinstance(value, dict) and step in value:
        yield from _values(value[step], rest, f"{place}.{step}" if place else step)
    elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        yield from _values(value[int(step)], rest, f"{place}.{step}")


def uses(
    event_id: str,
    customer_id: str | None,
    properties: Mapping[str, object],
    at: datetime | None,
    mapped: Iterable[MappedProperty],
) -> Iterator[Use]:
    """Yield what an event says of codes. An absent, null or blank property says nothing; a code counts once.

    So does a place, which two mapped paths may lead to. Of a mapped property that says more than `MAX_CODES`, the
    first of what is beyond is told as such, and nothing after it.
    """
    seen: set[tuple[str, Effect]] = set()
    places: set[str] = set()
    for each in mapped:
        left = MAX_CODES
        for place, value in values_at(properties, each.path):
            if value is None or place in places:
                continue
            code, outcome = _read(value, each.normalise)
            if code == "" or (code, each.effect) in seen:
                continue
            places.add(place)
            if left == 0:
                yield Use(event_id, place, None, customer_id, Outcome.TOO_MANY, at, each.effect)
                break
            left -= 1
            if code is not None:
                seen.add((code, each.effect))
            yield Use(event_id, place, code, customer_id, outcome, at, each.effect)


def _read(value: object, normalise: Normalise | None) -> tuple[str | None, Outcome]:
    """Return the code in a value, as an import would write it, and what comes of it as long as no pool is asked.

    None: no voucher can have it.
    """
    if not isinstance(value, str):
        return None, Outcome.NOT_A_STRING
    code = clean_code(value)
    if normalise is not None:
        code = code.upper() if normalise is Normalise.UPPER else code.lower()
    return code if len(code) <= MAX_CODE_LENGTH else None, Outcome.UNKNOWN_CODE


class Said(NamedTuple):
    """Something that was said of a code, with what it is judged by.

    `given_to` is who held the code at the time, `given` whether anybody did. Where anybody
    was erased persons are known by marks, which tell whether two are the same and nothing else.
    """

    place: int | None
    """Of what is new: where it stands there, from 1 on. None: it is stored."""
    id: UUID | None
    """Of what is stored."""
    code: str | None
    effect: Effect
    outcome: Outcome
    at: datetime
    customer: str | None
    status: VoucherStatus | None
    redeemed_at: datetime | None
    expires_at: datetime | None
    voided_at: datetime | None
    """When the code was taken out, also where it is used since: that use was before."""
    given: bool
    given_to: str | None
    stands: bool
    """Whether an assignment of the code stands, so that a cancellation can give it back to somebody."""


class New(NamedTuple):
    """What came of something new."""

    place: int
    """Where it stands among what is new, from 1 on."""
    outcome: Outcome
    at: datetime


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What comes of all that was said of some codes."""

    new: list[New]
    """What is to be stored, by place."""
    changed: dict[UUID, Outcome]
    """By the id of what is stored: what comes of it by now, where that is another outcome than before."""
    used: dict[str, datetime]
    """Codes whose vouchers are to be redeemed, and when they were used."""
    used_then: dict[str, datetime]
    """Codes whose vouchers are redeemed, and when they were used as is known by now."""
    unused: list[str]
    """Codes of which no use stands any more."""


def judge_all(said: Iterable[Said], tolerance: timedelta, most: int) -> Verdicts:
    """Judge what was said of codes; a new thing that names no code stays as it is.

    Args:
        said: code by code, and in the order of time.
        tolerance: how far the shop's clock may be off.
        most: things said of one code that can all be weighed; of more, no cancellation takes back any.
    """
    verdicts = Verdicts([], {}, {}, {}, [])
    for code, group in groupby(said, attrgetter("code")):
        of_code = list(group)
        if code is None:
            outcomes, at = [each.outcome for each in of_code], None
        else:
            outcomes, at = judge(of_code, tolerance, complete=len(of_code) <= most)
        for each, outcome in zip(of_code, outcomes, strict=True):
            if each.place is not None:
                verdicts.new.append(New(each.place, outcome, each.at))
            elif each.id is not None and each.outcome != outcome:
                verdicts.changed[each.id] = outcome
        if at is None:
            if Outcome.CANCELLED in outcomes:
                verdicts.unused.append(code)
        elif of_code[0].status != VoucherStatus.REDEEMED:
            verdicts.used[code] = at
        elif of_code[0].redeemed_at != at:
            verdicts.used_then[code] = at
    verdicts.new.sort()
    return verdicts


def judge(
    said: Sequence[Said], tolerance: timedelta, *, complete: bool = True
) -> tuple[list[Outcome], datetime | None]:
    """Return the outcome of each thing said of one code, and when the code was used, if it was.

    It does not matter in which order they came: `said` is in the order of their times. A cancellation takes back one
    use, the latest before it by the same customer (or, where there is none, by nobody in particular). Of the uses
    that stand, the first by whom the code was assigned to is the redemption. Any of them takes the code: the shop did.

    What has no say in it may be left out: of a code of which no cancellation was heard, the uses that came too late.

    Args:
        said: what was said of the code.
        tolerance: how far the shop's clock may be off.
        complete: whether all is there that a cancellation might take back; where not, none takes back any more.
    """
    # A code that is used and nobody's stays used: a cancellation can give it to nobody.
    settled = not complete or (said[0].status == VoucherStatus.REDEEMED and not said[0].stands)
    outcomes: list[Outcome] = []
    standing: list[int] = []
    for place, each in enumerate(said):
        if settled and each.outcome is Outcome.CANCELLED:
            outcomes.append(Outcome.CANCELLED)
        elif each.effect is Effect.CANCEL:
            taken = None if settled else _taken_back(each, said, standing)
            if taken is not None:
                standing.remove(taken)
                outcomes[taken] = Outcome.CANCELLED
            outcomes.append(_of_cancellation(each, taken))
        else:
            outcomes.append(_outcome_if_only_use(each, tolerance))
            if outcomes[place] in USED_OUTCOMES:
                standing.append(place)
    first = standing[0] if standing else None
    redeemed = next((place for place in standing if outcomes[place] is Outcome.REDEEMED), None)
    for place in standing:
        if place not in {first, redeemed}:
            outcomes[place] = Outcome.ALREADY_REDEEMED
    used = first if redeemed is None else redeemed
    return outcomes, None if used is None else said[used].at


def _taken_back(cancellation: Said, said: Sequence[Said], standing: Sequence[int]) -> int | None:
    """Return the place of the use that a cancellation takes back: its customer's latest, or else one of nobody's."""
    for customer in (cancellation.customer, None):
        for place in reversed(standing):
            use = said[place]
            # A code that is nobody's stays used, also where both are told at once: there is nobody to give it back to.
            # What was taken back once stays so, though the code may have been released since.
            if use.customer == customer and (use.stands or use.outcome is Outcome.CANCELLED):
                return place
    return None


def _of_cancellation(each: Said, taken: int | None) -> Outcome:
    if taken is not None:
        return Outcome.CANCELLED
    return Outcome.UNKNOWN_CODE if each.status is None else Outcome.NOT_REDEEMED


def _outcome_if_only_use(use: Said, tolerance: timedelta) -> Outcome:
    """Return the outcome of a use if nothing else were said of its code. What took the code goes on taking it."""
    if use.status is None:
        return Outcome.UNKNOWN_CODE
    if use.outcome not in {*USED_OUTCOMES, Outcome.ALREADY_REDEEMED, Outcome.CANCELLED}:
        if use.voided_at is not None and use.at >= use.voided_at:
            return Outcome.VOID
        if use.expires_at is not None and use.at >= use.expires_at + tolerance:
            return Outcome.EXPIRED
    if not use.given:
        return Outcome.NOT_ASSIGNED
    if None not in {use.given_to, use.customer} and use.given_to != use.customer:
        return Outcome.OTHER_CUSTOMER
    return Outcome.REDEEMED
