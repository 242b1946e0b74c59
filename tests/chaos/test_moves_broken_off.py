"""A mover is killed after each of its steps: the project is served, the move goes on or is undone without a rest."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import pytest

from app.domain.projects import service as projects
from app.domain.projects.moving import queries, service, tables
from app.domain.projects.moving.errors import MoveError
from app.platform.connections import connect_sync
from app.platform.databases import settings_of
from app.platform.moves import is_moving
from app.platform.postgres.server import LocalPostgres
from app.platform.settings import Settings
from tests.logical import logical_server

KILLED = """
import importlib, os, sys
from datetime import timedelta
from app.domain.projects.moving import service
from app.platform.settings import Settings
path, n, database, number = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
module, *names, last = path.split(".")
owner = importlib.import_module("app.domain.projects.moving." + module)
for name in names:
    owner = getattr(owner, name)
original, calls = getattr(owner, last), []
def killed(*arguments, **named):
    calls.append(1)
    if len(calls) == -n:
        os.kill(os.getpid(), number)
    result = original(*arguments, **named)
    if len(calls) == n:
        os.kill(os.getpid(), number)
    return result
setattr(owner, last, killed)
service.move(Settings(log_level="ERROR"), "shop", database, timedelta(0), print)
"""
BEFORE = [
    ("guard.Guard.make", 1),
    ("slots.Slot.make", 1),
    ("rows.Rows.copy_chunk", 5),
    ("guard.Guard.make", 2),
    ("rows.Rows.compare", 3),
    ("guard.Guard.pause", 1),
    ("queue.park", 1),
    ("finishing.prepare", 1),
]
"""Steps before the switch: after so many calls of this the mover is killed; less than 0: before."""
BEHIND = [("queries.switch", 1), ("queue.unpark", 1), ("guard.Guard.close", 1), ("slots.Slot.drop", 3)]
LEFTOVERS = {
    "slots": "SELECT slot_name FROM pg_replication_slots",
    "publications": "SELECT pubname FROM pg_publication",
    "triggers": "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'moving%'",
    "functions": "SELECT proname FROM pg_proc WHERE proname LIKE 'moving%'",
    "parked jobs": "SELECT id FROM procrastinate_jobs WHERE queue_name LIKE 'moving %'",
}
JOB = "SELECT queue_name, task_name FROM procrastinate_jobs WHERE args ->> 'project' = '{}'"


@dataclass
class Two:
    """Two databases, and a project that lives in one of them."""

    servers: dict[str, LocalPostgres]
    project: int
    rows: int = 0

    @property
    def settings(self) -> Settings:
        return self.of("main")

    def of(self, database: str) -> Settings:
        return settings_of(Settings(log_level="ERROR", key_cache_seconds=0), self.servers[database].url)

    def ask(self, database: str, query: str) -> list[tuple]:
        with connect_sync(self.of(database), autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def write(self, database: str) -> bool:
        """Try to write as the service does; return whether that was let through."""
        with connect_sync(self.of(database), project=self.project, autocommit=True) as connection:
            try:
                connection.execute(
                    "INSERT INTO customer (id, properties) VALUES (%s, '{}')", [f"c{self.rows}"]
                )
            except psycopg.OperationalError as error:
                if is_moving(error):
                    return False
                raise
        self.rows += 1
        return True

    def kept(self, database: str) -> list[tuple]:
        return self.ask(database, f"SELECT count(*)::integer FROM customer WHERE project_id = {self.project}")

    def is_clean(self, without: str) -> bool:
        """Tell whether nothing is left of any move, and no row in the database where the project does not live."""
        found = {(at, what): self.ask(at, query) for at in self.servers for what, query in LEFTOVERS.items()}
        assert not any(found.values()), found
        with connect_sync(self.of(without), autocommit=True) as connection:
            assert not tables.has_rows(connection, tables.read(connection), self.project)
        assert self.ask(without, JOB.format(self.project)) == []
        assert self.ask("main", "SELECT step FROM project_move") == []
        return True

    def kill(self, step: str, n: int, database: str) -> None:
        environment = {**os.environ, "DATABASE_URL": self.servers["main"].url}
        command = [sys.executable, "-c", KILLED, step, str(n), database, str(signal.SIGKILL.value)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == -9, (step, done.stdout, done.stderr)

    @contextmanager
    def hanging(self, step: str, n: int, database: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A mover that stops amid a move."""
        environment = {**os.environ, "DATABASE_URL": self.servers["main"].url}
        command = [sys.executable, "-c", KILLED, step, str(n), database, str(signal.SIGSTOP.value)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as mover:
            try:
                os.waitpid(mover.pid, os.WUNTRACED)
                yield mover
            finally:
                mover.kill()

    def move(self, database: str) -> None:
        service.move(self.settings, "shop", database, timedelta(0), str)
        service.attend(self.settings)  # the old rows


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    with logical_server() as main, logical_server() as other:
        found = Two({"main": main, "other": other}, 0)
        environment = {**os.environ, "DATABASE_URL": main.url, "VOUCHERS_LOG_LEVEL": "ERROR"}
        for command in (["migrate"], ["database", "add", "other", "--url", other.url]):
            subprocess.run([sys.executable, "-m", "app.cli", *command], env=environment, check=True)
        ((found.project,),) = found.ask("main", "INSERT INTO project (name) VALUES ('shop') RETURNING id")
        while found.rows < 100:
            found.write("main")
        found.ask(
            "main",
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES"
            f""" ('default', 'run_import', '{{"project": {found.project}}}') RETURNING id""",
        )
        yield found


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    """No process serves here that might write to the old rows."""
    monkeypatch.setattr(service, "LATE", timedelta(0))
    monkeypatch.setattr(projects, "LINGER_SECONDS", 0)


def test_a_move_that_was_broken_off_before_the_switch_is_undone_without_a_rest_or_goes_on(two):
    for n, (step, calls) in enumerate(BEFORE):
        two.kill(step, calls, "other")
        service.attend(two.settings)  # as the worker does: nobody is at it
        assert two.write("main"), step
        if n % 2:
            two.move("other")
            assert two.kept("other") == [(two.rows,)]
            assert two.write("other")
            two.move("main")
        else:
            service.undo(two.settings, "shop", str)
        assert two.is_clean(without="other"), step
        assert two.write("main")
        assert two.kept("main") == [(two.rows,)]
        assert two.ask("main", JOB.format(two.project)) == [("default", "run_import")]


def test_a_move_that_was_broken_off_behind_the_switch_is_finished_by_the_service(two):
    for step, calls in BEHIND:
        two.kill(step, calls, "other")
        assert not two.write("main"), step
        assert two.write("other"), step
        service.attend(two.settings)
        service.attend(two.settings)  # the old rows, which are not kept here
        assert two.is_clean(without="main"), step
        assert two.kept("other") == [(two.rows,)]
        assert two.ask("other", JOB.format(two.project)) == [("default", "run_import")]
        two.move("main")
        assert two.is_clean(without="other"), step


def test_where_the_answer_to_the_switch_is_lost_one_database_takes_writes(two, monkeypatch):
    switch = queries.switch

    def lost(control, project):
        assert switch(control, project)
        control.close()
        raise psycopg.OperationalError("the connection was lost")

    monkeypatch.setattr(queries, "switch", lost)
    with pytest.raises(psycopg.OperationalError):
        two.move("other")
    assert not two.write("main")
    assert two.write("other")
    service.attend(two.settings)
    service.attend(two.settings)
    assert two.is_clean(without="main")
    monkeypatch.undo()
    two.move("main")
    assert two.kept("main") == [(two.rows,)]


def test_a_project_that_has_moved_does_its_jobs_though_the_database_it_left_is_away(two):
    two.move("other")
    two.kill("queries.switch", 1, "main")
    two.servers["other"].stop()
    service.attend(two.settings)
    assert two.ask("main", JOB.format(two.project)) == [("default", "run_import")]
    assert two.write("main")
    two.servers["other"].start()
    service.attend(two.settings)
    service.attend(two.settings)  # the old rows
    assert two.is_clean(without="other")


@pytest.mark.parametrize("step", ["queries.switch", "finishing.finish"])
def test_a_project_goes_on_without_the_database_that_it_left(two, step):
    with pytest.raises(MoveError, match="has left no database"):
        service.leave_source(two.settings, "shop", str)
    two.move("other")
    two.kill(step, 1, "main")
    with pytest.raises(MoveError, match="is there"):
        service.leave_source(two.settings, "shop", str)
    two.servers["other"].stop()
    service.leave_source(two.settings, "shop", str)
    assert two.ask("main", "SELECT step FROM project_move") == []
    assert two.ask("main", JOB.format(two.project)) == [("default", "run_import")]
    assert two.write("main")
    assert not any(two.ask("main", LEFTOVERS[what]) for what in ("triggers", "functions", "parked jobs"))
    two.servers["other"].start()  # after all: what lies there does not hinder it
    two.move("other")
    assert two.ask("other", LEFTOVERS["slots"]) == []
    two.move("main")
    assert two.is_clean(without="other")
    assert two.kept("main") == [(two.rows,)]


def test_a_database_that_is_gone_meanwhile_is_waited_for(two):
    two.kill("rows.Rows.copy_chunk", 5, "other")
    two.servers["other"].stop()
    with pytest.raises(psycopg.OperationalError):
        two.move("other")
    assert two.write("main")
    with pytest.raises(MoveError, match="undo once more"):
        service.undo(two.settings, "shop", str)
    assert two.ask("main", LEFTOVERS["slots"]) == []
    assert two.write("main")
    two.servers["other"].start()
    service.undo(two.settings, "shop", str)
    assert two.is_clean(without="other")


def test_messages_that_others_write_to_the_log_are_passed_over(two):
    two.kill("rows.Rows.compare", 3, "other")
    two.ask("main", r"SELECT pg_logical_emit_message(true, 'others', '\xff00'::bytea)::text")
    two.move("other")
    assert two.kept("other") == [(two.rows,)]
    two.move("main")
    assert two.is_clean(without="other")


def test_a_log_that_the_source_threw_away_makes_the_move_begin_anew(two):
    two.kill("rows.Rows.compare", 3, "other")
    two.ask("main", "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots")
    assert two.write("main")
    two.move("other")
    assert two.kept("other") == [(two.rows,)]
    two.move("main")
    assert two.is_clean(without="other")


@pytest.mark.parametrize(("step", "n"), [("queue.park", 1), ("finishing.prepare", 1), ("queries.switch", -1)])
def test_a_mover_that_hangs_while_the_project_is_paused_is_given_up_and_switches_nothing_later(
    two, step, n, monkeypatch
):
    with two.hanging(step, n, "other") as mover:
        assert not two.write("main")
        service.attend(two.settings)
        assert not two.write("main")  # its time is not over
        monkeypatch.setattr(service, "HUNG_SECONDS", 0)
        service.attend(two.settings)
        service.attend(two.settings)
        assert two.write("main")
        mover.send_signal(signal.SIGCONT)
        assert mover.wait(30) == 1
    assert two.write("main")
    service.undo(two.settings, "shop", str)
    assert two.is_clean(without="other")
    assert two.kept("main") == [(two.rows,)]
