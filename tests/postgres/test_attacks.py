"""Answers that mean harm, or that a model may write by accident. Each is judged; the next judgement and the server are as before."""

import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from preflight.postgres.ddl import Schema
from preflight.postgres.judging import Judge
from preflight.postgres.server import started

SCHEMA = Schema(statements=("CREATE TABLE t (id int PRIMARY KEY, a int, b text)",), foreign_keys=())
EXPECTED = "SELECT a FROM t WHERE b = 'x'"
LIMIT = 0.4  # seconds, in the place of 2: the tests of the server hold the real one

SEVERAL = {
    "drop": "SELECT a FROM t; DROP TABLE t",
    "commit": "SELECT 1; COMMIT; DROP TABLE t",
    "role": "SELECT 1; SET ROLE postgres; SELECT a FROM t",
    "insert": "SELECT a FROM t; INSERT INTO t VALUES (1, 1, 'x')",
    "close": "SELECT a FROM t; CLOSE answer; SELECT 1",
    "comment": "SELECT a FROM t --\n; DROP TABLE t",
    "empty": ";;;",
}
COMMANDS = {
    "create table": "CREATE TABLE u (i int)",
    "create as": "CREATE TABLE u AS SELECT a FROM t",
    "select into": "SELECT a INTO u FROM t",
    "temporary table": "CREATE TEMP TABLE u AS SELECT 1",
    "temporary into": "SELECT a INTO TEMP u FROM t",
    "drop": "DROP TABLE t CASCADE",
    "truncate": "TRUNCATE t",
    "delete": "DELETE FROM t",
    "update": "UPDATE t SET a = 1 RETURNING a",
    "insert": "INSERT INTO t SELECT 1, 2, 'x' RETURNING a",
    "delete in a CTE": "WITH gone AS (DELETE FROM t RETURNING a) SELECT a FROM gone",
    "merge in a CTE": "WITH m AS (MERGE INTO t USING t u ON t.id = u.id WHEN MATCHED THEN DELETE RETURNING 1) SELECT * FROM m",
    "alter": "ALTER TABLE t ADD COLUMN z int",
    "grant": "GRANT ALL ON t TO PUBLIC",
    "copy out": "COPY t TO '{folder}/stolen'",
    "copy in": "COPY t FROM '/etc/passwd'",
    "copy program": "COPY t TO PROGRAM 'touch {folder}/stolen'",
    "copy query": "COPY (SELECT a FROM t) TO STDOUT",
    "do": "DO $$ BEGIN PERFORM pg_sleep(9); END $$",
    "function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "language": "CREATE LANGUAGE plpython3u",
    "extension": "CREATE EXTENSION dblink",
    "role": "CREATE ROLE evil SUPERUSER",
    "set role": "SET ROLE postgres",
    "set session": "SET SESSION AUTHORIZATION postgres",
    "set": "SET statement_timeout = 0",
    "reset": "RESET ALL",
    "alter role": "ALTER ROLE reader SET statement_timeout = 0",
    "alter system": "ALTER SYSTEM SET shared_preload_libraries = 'evil'",
    "load": "LOAD '{folder}/evil.so'",
    "listen": "LISTEN channel",
    "notify": "NOTIFY channel, 'x'",
    "vacuum": "VACUUM FULL t",
    "analyse": "ANALYZE t",
    "lock": "LOCK TABLE t IN ACCESS EXCLUSIVE MODE",
    "prepare": "PREPARE p AS SELECT 1",
    "execute": "EXECUTE p",
    "declare": "DECLARE answer CURSOR WITH HOLD FOR SELECT a FROM t",
    "fetch": "FETCH ALL FROM answer",
    "close": "CLOSE ALL",
    "rollback": "ROLLBACK",
    "two phases": "PREPARE TRANSACTION 'x'",
    "discard": "DISCARD ALL",
    "explain": "EXPLAIN ANALYZE SELECT a FROM t",
    "call": "CALL p()",
    "show": "SHOW ALL",
    "for update": "SELECT a FROM t FOR UPDATE",
    "large object": "SELECT lo_import('/etc/passwd')",
    "database": "CREATE DATABASE evil",
    "tablespace": "CREATE TABLESPACE s LOCATION '{folder}'",
    "checkpoint": "CHECKPOINT",
    "security label": "SECURITY LABEL ON TABLE t IS 'x'",
    "event trigger": "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()",
}
FUNCTIONS = {
    "read a file": "SELECT pg_read_file('/etc/passwd')",
    "read bytes": "SELECT pg_read_binary_file('/etc/passwd')",
    "list a folder": "SELECT pg_ls_dir('/')",
    "stat a file": "SELECT pg_stat_file('/etc/passwd')",
    "list logs": "SELECT * FROM pg_ls_logdir()",
    "hba": "SELECT * FROM pg_hba_file_rules",
    "passwords": "SELECT passwd FROM pg_shadow",
    "sleep": "SELECT pg_sleep(60)",
    "sleep until": "SELECT pg_sleep_until(now() + interval '1 hour')",
    "advisory lock": "SELECT pg_advisory_lock(1)",
    "terminate": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "cancel": "SELECT pg_cancel_backend(pid) FROM pg_stat_activity",
    "reload": "SELECT pg_reload_conf()",
    "set_config": "SELECT set_config('statement_timeout', '0', false)",
    "set_config role": "SELECT set_config('role', 'postgres', false)",
    "xml": "SELECT query_to_xml('DROP TABLE t', true, true, '')",
    "cursor as xml": "SELECT cursor_to_xml('answer', 1, true, true, '')",
    "dblink": "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS d(i int)",
    "large object": "SELECT lo_from_bytea(0, 'x')",
    "notify": "SELECT pg_notify('a', 'b')",
    "snapshot": "SELECT pg_export_snapshot()",
    "seed": "SELECT setseed(0.5)",
    "statistics": "SELECT ts_stat('SELECT to_tsvector(b) FROM t')",
    "switch wal": "SELECT pg_switch_wal()",
    "replication slot": "SELECT pg_create_physical_replication_slot('x')",
    "settings": "UPDATE pg_settings SET setting = '0' WHERE name = 'statement_timeout'",
}
# what only takes: each is cut off
HEAVY = {
    "a large value": "SELECT repeat('x', 1000000000)",
    "a value of 100 MB": "SELECT repeat('x', 100000000) FROM generate_series(1, 3)",
    "many large values": "SELECT repeat('x', 1000000) FROM generate_series(1, 100000)",
    "a large array": "SELECT array_agg(i) FROM generate_series(1, 1000000000) i",
    "a large text": "SELECT string_agg(repeat('y', 1000), '') FROM generate_series(1, 100000000)",
    "recursion": "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i FROM r) SELECT count(*) FROM r",
    "recursion that grows": "WITH RECURSIVE r(i) AS (SELECT 'x' UNION ALL SELECT i || i FROM r) SELECT max(length(i)) FROM r",
    "a million rows crossed": "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    "rows without end": "SELECT a.i FROM generate_series(1, 1000000) a(i), generate_series(1, 1000000) b",
    "a large sort": "SELECT i FROM generate_series(1, 1000000000) i ORDER BY i DESC",
    "a regular expression": "SELECT repeat('a', 40) ~ '^((((a+)+)+)+)+b$' FROM generate_series(1, 100000)",
    "a large number": "SELECT (9::numeric ^ 99999)::numeric ^ 2",
    "many columns": "SELECT " + ", ".join(["a"] * 2_000) + " FROM t",
    "many joins": "SELECT t0.a FROM t t0 " + " ".join(f"JOIN t t{i} USING (id)" for i in range(1, 400)),
    "a long list": "SELECT a FROM t WHERE id IN (" + ", ".join(map(str, range(15_000))) + ")",
}
# what parsers, quoting or encodings stumble over
ODD = {
    "brackets": "SELECT " + "(" * 50_000 + "1" + ")" * 50_000,
    "terms": "SELECT " + "1 + " * 50_000 + "1",
    "nested selects": "SELECT a FROM t WHERE id IN " + "(SELECT id FROM t WHERE id IN " * 300 + "(1" + ")" * 301,
    "negations": "SELECT " + "NOT " * 20_000 + "true",
    "cases": "SELECT " + "CASE WHEN true THEN " * 3_000 + "1" + " END" * 3_000,
    "unions": " UNION ALL ".join(["SELECT 1"] * 5_000),
    "arrays": "SELECT " + "ARRAY[" * 5_000 + "1" + "]" * 5_000,
    "a NUL": "SELECT a FROM t\0; DROP TABLE t",
    "a surrogate": "SELECT '\ud800' FROM t",
    "a quote": "SELECT a FROM t WHERE b = '",
    "dollar quotes": "SELECT a FROM t WHERE b = $$x",
    "a comment": "SELECT a FROM t /* x",
    "a name in another script": 'SELECT "ид" FROM "таблица"',
    "a direction": "SELECT a FROM t WHERE b = '\u202ex'",
    "a parameter": "SELECT a FROM t WHERE id = $1",
    "a placeholder": "SELECT a FROM t WHERE id = %s AND b = %(name)s AND b LIKE '%'",
    "a psql command": "\\! touch {folder}/stolen",
    "nothing": "",
    "prose": "I am sorry, but I cannot answer that.",
    "a long text": "SELECT '" + "x" * 200_000 + "'",
}
ATTACKS = [
    (f"{group}: {name}", text)
    for group, part in (("several", SEVERAL), ("command", COMMANDS), ("function", FUNCTIONS), ("heavy", HEAVY), ("odd", ODD))
    for name, text in part.items()
]


@pytest.fixture(scope="module")
def place():
    with started() as server:
        with server.connect("postgres", "postgres") as connection:
            connection.execute(f"ALTER ROLE reader SET statement_timeout = '{LIMIT}s'")
        with Judge(server, workers=1) as judge:
            yield server, judge


def state(server):
    """What an attack could leave behind: roles, databases, settings, tables, files of the server's folder."""
    with server.connect("postgres", "postgres") as connection:
        queries = (
            "SELECT rolname, rolsuper, rolconfig FROM pg_roles ORDER BY 1",
            "SELECT datname FROM pg_database ORDER BY 1",
            "SELECT name, setting FROM pg_settings WHERE source NOT IN ('client', 'session') AND name NOT LIKE 'application%' ORDER BY 1",
            "SELECT spcname FROM pg_tablespace ORDER BY 1",
            "SELECT slot_name FROM pg_replication_slots",
        )
        return [connection.execute(query).fetchall() for query in queries]


def test_enough_attacks():
    assert len(ATTACKS) >= 110


@pytest.mark.parametrize(("name", "text"), ATTACKS, ids=[name for name, _ in ATTACKS])
def test_an_attack_is_judged_and_changes_nothing(place, tmp_path, name, text):
    server, judge = place
    before, began = state(server), time.monotonic()
    judgement = judge.judge(SCHEMA, EXPECTED, text.replace("{folder}", str(tmp_path)))
    took = time.monotonic() - began
    assert judgement.verdict in ("wrong", "not checked"), judgement
    assert took < 8 * LIMIT + 1, "three statements are cut off at most"
    assert server.process.poll() is None
    assert list(tmp_path.iterdir()) == []
    assert state(server) == before
    began = time.monotonic()
    assert judge.judge(SCHEMA, EXPECTED, "SELECT t.a FROM t WHERE t.b IN ('x')").verdict == "right"
    assert judge.judge(SCHEMA, EXPECTED, "SELECT id FROM t WHERE b = 'x'").cause == "other rows"
    assert time.monotonic() - began < 2, "the next two are as fast as ever"


def test_no_query_is_left_running(place):
    server, _ = place
    with server.connect("postgres", "postgres") as connection:
        running = connection.execute("SELECT query FROM pg_stat_activity WHERE state = 'active' AND usename IN ('reader', 'owner')").fetchall()
    assert running == []
    with server.connect("postgres", "postgres") as connection:
        assert connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchall() == [(0,)]
    assert psutil.Process(os.getpid()).memory_info().rss < 2 << 30


def test_an_expected_answer_that_means_harm_is_not_believed(place):
    _, judge = place
    for text in (
        "DELETE FROM t",
        "SELECT 1; DROP TABLE t",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY t TO '/tmp/x'",
        "SELECT a FROM missing",
        "SELECT \0",
    ):
        judgement = judge.judge(SCHEMA, text, text)
        assert (judgement.verdict, bool(judgement.detail)) == ("not checked", True)


@pytest.mark.parametrize("pause", [0, 1])  # the server ends the other connections within that second
@pytest.mark.parametrize(
    "schema", [SCHEMA, replace(SCHEMA, statements=(*SCHEMA.statements, "CREATE TABLE u (id int)"))], ids=["loaded", "to be loaded"]
)
def test_a_process_that_dies_takes_no_verdict_with_it(place, schema, pause):
    server, judge = place
    assert judge.judge(SCHEMA, EXPECTED, EXPECTED).verdict == "right"
    with server.connect("postgres", "postgres") as connection:
        ((pid,),) = connection.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'reader'").fetchall()
    os.kill(pid, 9)
    time.sleep(pause)
    assert judge.judge(schema, EXPECTED, "SELECT t.a FROM t WHERE t.b IN ('x')").verdict == "right"
    assert Path(server.folder).is_dir()


def test_a_process_that_does_not_listen_is_given_up(place, monkeypatch):
    """As one is that never looks whether it was cancelled."""
    monkeypatch.setattr("preflight.postgres.running.PATIENCE", 2 * LIMIT)
    server, judge = place
    judge.judge(SCHEMA, EXPECTED, EXPECTED)
    with server.connect("postgres", "postgres") as connection:
        ((pid,),) = connection.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'reader'").fetchall()
    os.kill(pid, 19)
    began = time.monotonic()
    assert judge.judge(SCHEMA, EXPECTED, "SELECT t.a FROM t WHERE t.b IN ('x')").verdict == "right"
    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
