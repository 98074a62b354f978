"""Many answers at once: grouped, spread over connections, and none the worse for what another did."""

import time

import psycopg
import pytest

from preflight.postgres import preparing
from preflight.postgres.ddl_text import find_statements
from preflight.postgres.preparing import Desk, Question, judge_answers
from preflight.postgres.server import started

BOATS = find_statements("CREATE TABLE boats (id int, name text)")


def asked(answers, ddl=BOATS):
    return [Question(number, ddl, answer) for number, answer in enumerate(answers)]


def states(server, questions):
    made = dict(judge_answers(server, questions))
    assert len(made) == len(questions)
    return [made[number].state for number in sorted(made)]


def test_each_answer_meets_its_own_tables(server):
    questions = [
        Question(
            number,
            find_statements(f"CREATE TABLE t{number % 7} (c{number % 3} int)"),
            f"SELECT c{number % 3} FROM t{number % 7 if number % 5 else 8}",
        )
        for number in range(210)
    ]
    assert states(server, questions) == ["runs" if number % 5 else "fails" for number in range(210)]


def test_a_failure_does_not_shift_the_verdict_of_the_next(server):
    answers = ["SELECT nme FROM boats", "SELECT name FROM boats"] * 400
    assert states(server, asked(answers)) == ["fails", "runs"] * 400


def test_nothing_is_executed(server):
    answers = [
        "INSERT INTO boats VALUES (1, 'a')",
        "DELETE FROM boats",
        "SELECT pg_sleep(100)",
        "SELECT 1 / 0 FROM boats",
        "SELECT set_config('statement_timeout', '0', false)",
    ]
    before = time.monotonic()
    assert states(server, asked(answers)) == ["runs"] * 5
    assert time.monotonic() - before < 2


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("How many boats?", "no CREATE TABLE"),
        ("CREATE TABLE boats (id int, name geometry)", "geometry"),
        ("CREATE TABLE boats (id int, name te", "does not end"),
        ("CREATE TABLE boats (id int); CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
    ],
)
def test_without_tables_nothing_is_said(server, prompt, reason):
    ((_, verdict),) = judge_answers(server, asked(["SELECT nothing FROM nowhere"], find_statements(prompt)))
    assert verdict.state == "not checked"
    assert reason in verdict.cause


def test_a_connection_that_is_lost_costs_one_answer(server, monkeypatch):
    prepare, ended = Desk._prepare, []

    def lose(self, statement):
        if "lost" in statement and not ended:
            ended.append(self)
            with server.connect("postgres", "postgres") as connection:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'owner'")
        return prepare(self, statement)

    monkeypatch.setattr(Desk, "_prepare", lose)
    assert states(server, asked(["SELECT name FROM boats", "SELECT 'lost'", "SELECT name FROM boats", "SELECT nme FROM boats"])) == [
        "runs",
        "not checked",
        "runs",
        "fails",
    ]


def test_an_answer_that_takes_the_server_down_costs_itself(monkeypatch):
    """PostgreSQL ends all sessions when one of its processes dies, and is back in a moment."""
    import os
    import signal

    with started() as server:
        prepare, ended = Desk._prepare, []

        def kill(self, statement):
            if "killed" in statement and not ended:
                ended.append(self)
                os.kill(self.connection.info.backend_pid, signal.SIGKILL)
                time.sleep(0.2)
            return prepare(self, statement)

        monkeypatch.setattr(Desk, "_prepare", kill)
        assert states(server, asked(["SELECT 'killed'", "SELECT name FROM boats", "SELECT nme FROM boats"])) == ["not checked", "runs", "fails"]


def test_a_server_that_is_silent_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(preparing, "SECONDS", 0.3)
    desk = Desk(server)
    desk._connected()
    with pytest.raises(preparing.StuckError):
        # rows that are counted, not kept: the limit to temporary files, which a busy machine reaches within this time, would be an answer
        desk._run("SELECT count(*) FROM generate_series(1, 10000) a, generate_series(1, 10000) b, generate_series(1, 10000) c", 0.2)
    desk.close()


def test_a_server_that_is_gone_is_said(monkeypatch):
    monkeypatch.setattr(preparing, "RETURN_SECONDS", 0.3)
    with started() as server:
        pass
    ((_, verdict),) = judge_answers(server, asked(["SELECT name FROM boats"]))
    assert (verdict.state, verdict.cause) == ("not checked", "PostgreSQL is gone")


def test_it_ends_when_nobody_waits_for_it_any_more(server):
    many = judge_answers(server, asked(["SELECT name FROM boats"] * 20_000))
    next(many)
    before = time.monotonic()
    many.close()  # Ctrl-C, say
    assert time.monotonic() - before < 2


def test_it_leaves_no_tables(server):
    desk = Desk(server)
    desk.judge(preparing.schema_of(BOATS), asked(["SELECT name FROM boats"]))
    with server.connect(desk.database, "owner") as connection, pytest.raises(psycopg.Error):
        connection.execute("SELECT * FROM boats")
    desk.close()
