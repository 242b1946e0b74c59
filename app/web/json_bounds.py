"""Bounds on the form of JSON: how deep it is nested, and how long its numbers are."""

import re

from app.platform.errors import InvalidRequestError

MAX_DEPTH = 64
MAX_DIGITS = 100
"""Characters of one number; what a database or a double can hold has fewer."""

_QUOTE = ord('"')
_MANY_DIGITS = re.compile(rb"[0-9.eE+-]{%d}" % (MAX_DIGITS + 1))
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]+|[\]}]+|[0-9.eE+-]{%d}' % (MAX_DIGITS + 1), re.DOTALL)


def check(body: bytes) -> None:
    """Refuse JSON that is nested too deep or has a number without end. What is no JSON is not found out here.

    Raises:
        InvalidRequestError: it is beyond a bound.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH and (
        len(body) <= MAX_DIGITS or not _MANY_DIGITS.search(body)
    ):
        return
    depth = 0
    for token in _TOKEN.finditer(body):
        first = body[token.start()]
        if first == _QUOTE:
            continue
        size = token.end() - token.start()
        if first in b"[{":
            depth += size
            if depth > MAX_DEPTH:
                raise _refusal(f"JSON may be nested {MAX_DEPTH} deep at most")
        elif first in b"]}":
            depth -= size
        else:
            raise _refusal(f"a number has at most {MAX_DIGITS} characters")


def _refusal(said: str) -> InvalidRequestError:
    return InvalidRequestError(f"body: {said}", [{"loc": ["body"], "msg": said}])
