"""Refuse query parameters that a route does not know.

One that is ignored is dangerous: a script that lists `?test=true` and releases what it finds would take customers'
codes back where the filter does not exist.
"""

import difflib
from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.platform.errors import InvalidRequestError


class KnownParameters:
    """A dependency of every route: refuses parameters that the route does not know."""

    def __init__(self) -> None:
        self._by_operation: dict[str, frozenset[str]] = {}

    async def __call__(self, request: Request) -> None:
        """Check the names of the query's parameters.

        Raises:
            InvalidRequestError: one is not known here; the nearest known name is told.
        """
        route = request.scope.get("route")
        if not request.scope["query_string"] or not isinstance(route, APIRoute):
            return
        known = self._of(route)
        errors = [
            {"loc": ["query", name], "msg": _message(name, known)}
            for name in dict.fromkeys(request.query_params.keys())
            if name not in known
        ]
        if errors:
            detail = "; ".join(f"query.{error['loc'][1]}: {error['msg']}" for error in errors)
            raise InvalidRequestError(detail, errors)

    def _of(self, route: APIRoute) -> frozenset[str]:
        known = self._by_operation.get(route.unique_id)
        if known is None:
            known = self._by_operation[route.unique_id] = frozenset(_names(route.dependant))
        return known


def _names(dependant: Dependant) -> Iterator[str]:
    """Yield the parameters of a route's function, and of all that it depends on."""
    yield from (field.alias for field in dependant.query_params)
    for other in dependant.dependencies:
        yield from _names(other)


def _message(name: str, known: frozenset[str]) -> str:
    nearest = difflib.get_close_matches(name[:100], known, n=1)
    if nearest:
        return f"no such parameter; did you mean {nearest[0]!r}?"
    return f"no such parameter; there are {', '.join(sorted(known))}" if known else "no parameters here"
