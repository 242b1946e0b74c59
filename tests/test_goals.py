"""The first table of the figures is made of what the benchmarks have printed, and lacks no goal."""

import re

import pytest

from benchmarks import goals
from benchmarks.all import PAGE, Part, page_of, page_with


def printed():
    """Each benchmark prints rows of its own between other things; here each goal is one's."""
    rows = [
        goals.row(
            name, [2.0, 3.0, 4.0], [2.0, 2.0, 2.0], said="x / y", size="20 M", than="1 M", minute="minute"
        )
        for name in reversed(goals.GOALS)
    ]
    return "".join(
        f"a machine\n\n{goals.table(one)}\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n" for one in rows
    )


def test_a_row_says_ratio_and_spread():
    row = goals.row("bulk", [20.0, 30.0, 90.0], [20.0, 20.0, 30.0])
    assert row == [
        "bulk, 1,000 a request / the statement itself",
        "1.50",
        "≥ 1.2",
        "yes",
        "1.00 to 3.00, 3 rounds",
    ]
    assert goals.row("imported", [198.4])[1:] == ["198", "≤ 170", "no", "one round"]


@pytest.mark.parametrize(
    ("measured", "goal", "said"),
    [
        ("1.30 (9 s)", "≤ 1.3", "yes"),
        ("1.31 (1 s)", "≤ 1.3", "no"),
        ("0.49", "≥ 0.5", "no"),
        ("-3.20", "≤ 5", "yes"),
        ("3.01 (1,200/s, 0.83 ms / 2,024/s)", "≤ 1.3, or ≥ 1,200/s", "yes"),
        ("3.01 (673/s, 1.49 ms / 2,024/s)", "≤ 1.3, or ≥ 1,200/s", "no"),
        ("1.20 (673/s)", "≤ 1.3, or ≥ 1,200/s", "yes"),
    ],
)
def test_a_goal_is_met_or_not_as_the_table_shows_it(measured, goal, said):
    assert goals.met(measured, goal) == said


def test_all_goals_can_be_compared():
    assert {goals.met("1.00", goal) for _, goal in goals.GOALS.values()} == {"yes", "no"}
    with pytest.raises(ValueError, match="fast"):
        goals.met("1.00", "fast")


def test_the_rows_of_a_page_are_judged_anew():
    page = f"# A\n\n{goals.table(goals.row('bulk', [2.0], [1.0]), goals.row('imported', [198.4]))}| b |\n"
    wrong = page.replace(" yes |", " no |", 1)
    assert wrong != page
    assert goals.renew(wrong, "") == goals.renew(page, "") == page


def test_a_row_for_which_the_page_has_no_place_is_told():
    page = goals.table(goals.row("bulk", [2.0], [1.0]))
    with pytest.raises(LookupError, match="imported"):
        goals.renew(page, f"{goals.table(goals.row('imported', [198.4]))}\n\n")


def test_the_page_of_figures_tells_what_is_met():
    page = PAGE.read_text()
    assert goals.collect(page).splitlines()[:2] == goals.table().splitlines()[:2]
    assert goals.renew(page, "") == page


def test_all_rows_come_together_in_the_order_of_the_goals():
    lines = goals.collect(printed()).splitlines()
    assert lines[:2] == ["| what | measured | goal | met | spread |", "| --- | --- | --- | --- | --- |"]
    assert len(lines) == 2 + len(goals.GOALS)
    assert lines[2].startswith("| CPU of all processes for one assign")
    assert (
        "| import of 20 M codes, time for each / of 1 M | 1.50 (x / y) | ≤ 1.3 | no | 1.00 to 2.00, 3 rounds |"
        in lines
    )
    assert "assigned" in lines[-1]


def test_a_row_that_nobody_printed_is_missed():
    with pytest.raises(LookupError, match="bulk"):
        goals.collect(printed().replace("| bulk,", "| else,"))


def test_the_page_has_the_goals_first_and_what_else_was_printed():
    page = page_of(
        [Part("Bulk assigns", "benchmarks.bulk --rounds 5", 7.2, printed())], "python -m benchmarks.all"
    )
    assert page.count("| what | measured | goal | met | spread |") == 1
    assert page.index("≥ 1.2") < page.index(
        "## Bulk assigns\n\n`python -m benchmarks.bulk --rounds 5`, 7 s\n\na machine"
    )
    assert page.count("| 1 | 2 |") == len(goals.GOALS)


def test_a_part_that_is_made_again_takes_the_place_of_its_own():
    bulk = Part("bulk", "benchmarks.bulk", 7.2, printed())
    page = page_of([bulk, Part("events", "benchmarks.events", 7.2, "| b |\n")], "python -m benchmarks.all")
    rows = goals.table(goals.row("event", [3.0, 3.0], [1.0, 1.0]))
    again = page_with(page, Part("events", "benchmarks.events", 8.0, f"{rows}\n| other | things |\n"))
    lines = again.splitlines()
    (made,) = [line for line in lines if line.startswith("| single event over HTTP")]
    assert "3.00" in made
    before, events = again.split("\n## events\n")
    rest = page.split("\n## events\n")[0].splitlines()
    assert [line for line in before.splitlines() if line != made] == [
        line for line in rest if not line.startswith("| single event over HTTP")
    ]
    assert re.fullmatch(
        r"\n`python -m benchmarks\.events` again on `[\d-]+`, 8 s\n\n\| other \| things \|\n", events
    )
