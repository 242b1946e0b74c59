"""Requests for customers who have several ids, because they were merged."""

import dataclasses
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assignments import identity, queries
from app.domain.assignments.rule import Given, reused
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.domain.persons import service as persons


async def of_persons(
    connection: AsyncConnection, pool: str, requests: Sequence[AssignmentRequest]
) -> list[AssignmentRequest]:
    """Return the requests, in their order, as those of the persons for whom their customers' ids stand.

    A message that was given a code under another id of its customer is known by that: so it gets the same again.

    Raises:
        MergingError: one of the customers is being merged.
    """
    found = await persons.resolve(connection, (request.customer_id for request in requests))
    if not found:
        return list(requests)
    places = {
        request.id: [
            identity.of_message(request.message_id, name, pool, request.occurrence)
            for name in found[request.customer_id].names(request.customer_id)
        ]
        for request in requests
        if request.customer_id in found and request.message_id is not None
    }
    given = await queries.which(connection, [place for of_one in places.values() for place in of_one])
    resolved = []
    for request in requests:
        person = None if request.customer_id is None else found.get(request.customer_id)
        if person is None:
            resolved.append(request)
            continue
        id_ = request.id
        if request.message_id is not None:
            own = identity.of_message(request.message_id, person.id, pool, request.occurrence)
            id_ = next((place for place in places[request.id] if place in given), own)
        resolved.append(dataclasses.replace(request, id=id_, customer_id=person.id))
    return resolved


def as_asked(
    asked: Sequence[AssignmentRequest], resolved: Sequence[AssignmentRequest], given: Given
) -> Given:
    """Return what requests were given by those that asked, where these name customers by other ids.

    What a request was given under its id is its own where it was given to the person.
    """
    answers: Given = {}
    for request, of_person in zip(asked, resolved, strict=True):
        row = given.get(of_person.id)
        if isinstance(row, LedgerEntry) and of_person is not request and row.id == of_person.id:
            is_own = row.customer_id == of_person.customer_id
            row = dataclasses.replace(row, of_person=True) if is_own else reused(row)
        if row is not None:
            answers[request.id] = row
    return answers
