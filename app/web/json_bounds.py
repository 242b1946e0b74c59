"""Bounds on the form of JSON: how deep it is nested, and how long its numbers are."""

import re

from app.platform.errors import InvalidRequestError

MAX_DEPTH = 64
MAX_DIGITS = 100
"""Characters of one number; what a database or a double can hold has fewer."""

_QUOTE = ord('"')
_MANY_DIGITS = re.compile(rb"[0-9.eE+-]{%d}" % (MAX_DIGITS + 1))
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]+|[\]}]+|[0-9.eE+-]{%d}' % (MAX_DIGITS + 1), re.DOTALL)
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_AS_DIGITS = bytes(ord("0") if byte in b"0123456789.eE+-" else ord(" ") for byte in range(256))
_USUAL_DEPTH = 8
_TOO_MANY = b"0" * (MAX_DIGITS + 1)


def check(body: bytes) -> None:
    """Refuse JSON that is nested too deep or has a number without end. What is no JSON is not found out here.

    Raises:
        InvalidRequestError: it is beyond a bound.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH and (
        len(body) <= MAX_DIGITS or not _MANY_DIGITS.search(body)
    ):
        return
    if not _is_usual(body):
        _walk(body)


def _is_usual(body: bytes) -> bool:
    """Tell by a few looks at the whole that a body is within the bounds; False: it may be, or not.

    A walk from token to token takes three times as long as parsing does.
    """
    outside = b" ".join((_ESCAPED.sub(b"", body) if b"\\" in body else body).split(b'"')[::2])
    if _TOO_MANY in outside.translate(_AS_DIGITS):
        return False
    brackets = outside.translate(None, _NO_BRACKETS)
    for _ in range(_USUAL_DEPTH):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return not brackets


def _walk(body: bytes) -> None:
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
