"""The workers of further databases, and who keeps them."""

from cryptography.fernet import Fernet
from pydantic import SecretStr

from app.platform.sealing import fernet
from app.server.crew import Crew
from app.server.roles import Role


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
