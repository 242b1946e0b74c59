"""A sample of the files that are made at random; `python -m tests.domain.imports.made_files 2000` reads more."""

from collections import Counter

import pytest

from tests.domain.imports.made_files import judge, make


@pytest.mark.parametrize("held", [False, True], ids=["tuned on", "held out"])
def test_hardly_any_file_is_read_wrong_and_few_are_asked_about(held):
    outcomes = Counter(judge(make(seed, held=held))[0] for seed in range(150))
    assert outcomes["wrong"] <= 1, outcomes
    assert outcomes["asked"] <= 7, outcomes
    assert outcomes["aside"] <= 3, outcomes


def test_a_seed_makes_the_same_file_again():
    assert make(7, held=False) == make(7, held=False)
