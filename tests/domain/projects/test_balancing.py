"""Which projects should live elsewhere."""

from app.domain.projects.databases.balancing import Load, proposals


def moves(loads, stays="default"):
    return [(move.project, move.source, move.target) for move in proposals(loads, stays)]


def test_databases_come_to_hold_alike_and_what_is_alike_stays():
    loads = {"main": Load({"default": 10, "a": 50, "b": 30, "c": 5}), "second": Load({})}
    assert moves(loads) == [("a", "main", "second")]
    assert moves({"main": Load({"a": 50}), "second": Load({"b": 46})}) == []
    assert moves({"main": Load({"a": 100}), "second": Load({})}) == []  # one alone is nowhere better
    assert moves({"main": Load({"a": 100, "b": 1})}) == []
    assert moves({"main": Load({"a": 0, "b": 0}), "second": Load({})}) == []


def test_a_drained_database_gives_all_to_the_emptiest_of_the_others():
    loads = {
        "main": Load({"default": 5, "a": 1}),
        "old": Load({"b": 30, "c": 20, "d": 0}, is_drained=True),
        "new": Load({}),
    }
    assert moves(loads) == [("b", "old", "new"), ("c", "old", "main"), ("d", "old", "main")]
    assert moves({"main": Load({"default": 5, "a": 1}, is_drained=True), "new": Load({})}) == [
        ("a", "main", "new")
    ]
    assert moves({"main": Load({"a": 1}, is_drained=True)}) == []
