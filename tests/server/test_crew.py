"""The workers of further databases, and who keeps them."""

from unittest.mock import Mock

from cryptography.fernet import Fernet
from pydantic import SecretStr

from app.platform.sealing import fernet
from app.server import roles
from app.server.crew import Crew
from app.server.roles import SPARE_SECONDS, Role, Running


def test_a_database_whose_url_no_key_opens_has_no_worker_that_ends_again_and_again(settings, monkeypatch):
    started = []
    monkeypatch.setattr(Role, "start", lambda role: started.append(role.name))
    ours, theirs = (
        settings.model_copy(update={"secret_key": SecretStr(Fernet.generate_key().decode())})
        for _ in range(2)
    )
    sealed, other = (fernet(each).encrypt(b"postgresql://a/b") for each in (ours, theirs))
    crew = Crew(ours, print)
    for _ in range(2):
        crew._follow({"second": other, "third": sealed})
        crew._revive()
    assert set(started) == {"jobs-third"}


def test_a_worker_whose_database_has_another_url_is_killed_where_it_does_not_end(settings, monkeypatch):
    begun = []

    def begin(role):
        begun.append(Running(Mock(pid=None), Mock(value=0.0), 0.0))
        role.now = begun[-1]

    monkeypatch.setattr(Role, "start", begin)
    monkeypatch.setattr(Running, "hangs", lambda *_: False)
    monkeypatch.setattr(roles, "time", clock := Mock(monotonic=Mock(return_value=100.0)))
    ours = settings.model_copy(update={"secret_key": SecretStr(Fernet.generate_key().decode())})
    crew = Crew(ours, print)
    for port in (1, 2):
        crew._follow({"second": fernet(ours).encrypt(f"postgresql://a:{port}/b".encode())})
        crew._revive()
    old, new = begun
    old.process.kill.assert_not_called()
    clock.monotonic.return_value += settings.stop_seconds + SPARE_SECONDS + 1
    crew._revive()
    old.process.kill.assert_called_once()
    new.process.kill.assert_not_called()
    assert crew._running() == [new]
