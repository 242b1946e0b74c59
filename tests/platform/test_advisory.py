"""Locks that have nothing to do with each other never have one number."""

from app.platform import advisory


def test_no_two_locks_are_one():
    by_themselves = {advisory.SCHEMA, advisory.CONTROL}
    classes = [advisory.USES, advisory.MERGES, advisory.REQUESTS, advisory.MOVES]
    assert len(by_themselves) == 2
    assert len(set(classes)) == len(classes)
