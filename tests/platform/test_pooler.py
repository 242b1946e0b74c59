"""What the role behind a pooler is given, and what is not ours to do is told."""

from unittest.mock import Mock

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from app.platform import pooler
from app.platform.connections import SERVICE, SESSION
from app.platform.database_url import conninfo

BEHIND, DIRECT = "behind_a_pooler", "past_the_pooler"


def of_role(url, role):
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@pytest.fixture(
    params=["GRANT pg_read_all_stats TO past_the_pooler", ""], ids=["it sees them", "hidden from it"]
)
def settings(request, settings, database_url):
    """Those of a service whose role past the pooler may set the other one's settings, and not end its sessions."""
    with psycopg.connect(conninfo(database_url), user="postgres", autocommit=True) as administrator:
        administrator.execute(f"CREATE ROLE {DIRECT} LOGIN CREATEROLE")
        administrator.execute(request.param)
        with psycopg.connect(conninfo(of_role(database_url, DIRECT)), autocommit=True) as direct:
            direct.execute(f"CREATE ROLE {BEHIND} LOGIN")
        direct_url = SecretStr(of_role(database_url, DIRECT))
        place = {"database_url": of_role(database_url, BEHIND), "direct_database_url": direct_url}
        yield settings.model_copy(update=place)
        administrator.execute(f"DROP ROLE {BEHIND}, {DIRECT}")


def test_sessions_that_are_not_ours_to_end_are_told(settings, monkeypatch):
    monkeypatch.setattr(pooler, "log", log := Mock())
    with psycopg.connect(conninfo(settings.database_url), autocommit=True) as kept:
        kept.execute("SELECT 1")
        pooler.set_for_role(settings)
        assert kept.execute("SHOW enable_seqscan").fetchone() == ("on",)
        assert "let it reconnect" in log.warning.call_args.args[0]
        pooler.set_for_role(settings)  # nothing is missing
        assert log.warning.call_count == 1
    with psycopg.connect(conninfo(settings.direct_url), autocommit=True) as direct:
        query = "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = %s::regrole"
        given = dict(row[0].split("=", 1) for row in direct.execute(query, [BEHIND]))
    assert {name.lower(): value for name, value in given.items()} == SESSION | {"role": SERVICE}
