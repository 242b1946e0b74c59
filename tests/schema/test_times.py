"""Times from outside are read one way, or refused."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from app.schema.times import Time

READ = TypeAdapter(Time).validate_python


@pytest.mark.parametrize(
    "said", ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", 1_700_000_000, 1_700_000_000.0]
)
def test_a_time_is_a_date_with_a_zone_or_unix_seconds(said):
    assert READ(said) == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        1_700_000_000_000,
        -1,
        True,
        "1700000000",
        "2023-11-14T22:13:20",
        "",
        "tomorrow",
        None,
        float("nan"),
        float("inf"),
    ],
)
def test_what_would_have_to_be_guessed_is_refused(said):
    with pytest.raises(ValidationError):
        READ(said)
