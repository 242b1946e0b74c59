"""The bounds on the form of JSON: what is within them passes, what is beyond is refused, however it is hidden."""

import json
import random

import pytest

from app.platform.errors import InvalidRequestError
from app.web.json_bounds import MAX_DEPTH, MAX_DIGITS, check

MANY = [{"customer_id": "c"}] * 100
"""So many brackets that a body is looked at closely."""
HIDDEN = ["[[{{", "]}", '\\"[', "\\\\", '"', "1" * 200, "ä" * 50]
"""What texts may hold, and what must not be taken for JSON."""


def nested(depth, inside):
    """Return lists and objects in turn, `depth` of them."""
    value = inside
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("beside", [[], MANY], ids=["few brackets", "many"])
@pytest.mark.parametrize("text", HIDDEN)
def test_depth_is_counted_outside_of_texts(beside, text):
    for depth in (1, 5, 8, 9, 20, MAX_DEPTH - 2):
        check(json.dumps([beside, nested(depth, text), text]).encode())
    with pytest.raises(InvalidRequestError, match="nested 64 deep"):
        check(json.dumps([text, beside, nested(MAX_DEPTH, text)]).encode())


@pytest.mark.parametrize("beside", [[], MANY], ids=["few brackets", "many"])
@pytest.mark.parametrize("number", ["1" * (MAX_DIGITS + 1), "-1." + "0" * 90 + "e+1234567890"])
def test_a_number_has_an_end(beside, number):
    given = json.dumps([beside, "HERE"])
    check(given.replace("HERE", number).encode())
    with pytest.raises(InvalidRequestError, match="at most 100"):
        check(given.replace('"HERE"', number).encode())


def test_no_form_of_json_that_is_too_deep_passes():
    chance = random.Random(7)
    pieces = [
        "[",
        "[",
        "{",
        '{"a":',
        "]",
        "}",
        ",",
        '"',
        '"x"',
        "\\",
        '\\"',
        "1",
        "[" * 70,
        "]" * 70,
        "[]",
        '{"a":1}',
    ]
    deepest = 0
    for _ in range(3000):
        body = "".join(chance.choices(pieces, k=chance.randint(1, 200)))
        body += MAX_DEPTH * "[]"
        depth = most = 0
        inside = escaped = False
        for character in body:  # as a reader of JSON does
            if inside:
                inside = escaped or character != '"'
                escaped = character == "\\" and not escaped
            elif character == '"':
                inside = True
            elif character in "[{":
                depth += 1
                most = max(most, depth)
            elif character in "]}":
                depth -= 1
            elif character == "\\":
                break  # it reads no further
        if most > MAX_DEPTH:
            deepest += 1
            with pytest.raises(InvalidRequestError):
                check(body.encode())
    assert deepest > 100
