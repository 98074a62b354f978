"""Whether answers run on the tables of their own prompts. Each is parsed and analysed by PostgreSQL, and none is executed."""

import contextlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from preflight.postgres.causes import RUNS, Verdict, explain, not_checked
from preflight.postgres.ddl import Schema, schema_of
from preflight.postgres.ddl_text import Found
from preflight.postgres.exchange import StuckError, exchange
from preflight.postgres.server import Server

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGconn, PGresult

MOST_WORKERS = 4
SECONDS = 5.0  # for one answer; the server's own limit is 2
LOAD_SECONDS = 20.0  # for the tables of one prompt
RETURN_SECONDS = 10.0  # for a server that was taken down by an answer to be back
LONGEST = 100_000  # characters of an answer
FIRST_WORD = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*([a-z]+)", re.IGNORECASE | re.DOTALL)
ANALYSED = {"select", "with", "values", "table", "insert", "update", "delete", "merge"}
READING = {"select", "with", "values", "table"}
QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
BLANKS = (  # what a program fills in before it runs, which the parser takes for operators or not at all
    (re.compile(r"\$\d"), "a parameter ($1)"),
    (re.compile(r"%\(\w+\)s|%s\b"), "a placeholder (%s)"),
    (re.compile(r"(?<![\w@])@@?[^\W\d]\w*"), "a variable (@name)"),
    (re.compile(r"(?<![:\w]):[^\W\d]\w*"), "a placeholder (:name)"),
    (re.compile(r"\{\w*\}"), "a placeholder ({name})"),
)
CHUNK = 500  # answers of one group: several workers share many answers on the same tables


class Question(NamedTuple):
    """An answer, and what its prompt says of its tables."""

    number: int  # of the caller's, to know it by
    ddl: Found
    answer: str


Done = queue.SimpleQueue[list[tuple[int, Verdict]] | None]


def judge_answers(server: Server, questions: Iterable[Question]) -> Iterator[tuple[int, Verdict]]:
    """The number of each question and what its answer does, as they are done."""
    left: queue.SimpleQueue[tuple[Found, list[Question]]] = queue.SimpleQueue()
    for group in _grouped(questions):
        left.put(group)
    done: Done = queue.SimpleQueue()
    stop = threading.Event()
    running = max(1, min(MOST_WORKERS, os.cpu_count() or 1, left.qsize()))
    with ThreadPoolExecutor(running) as pool:
        workers = [pool.submit(_work, server, left, done, stop) for _ in range(running)]
        try:
            while running:
                made = done.get()
                running -= made is None
                yield from made or ()
        finally:
            stop.set()
    for worker in workers:
        worker.result()


def _grouped(questions: Iterable[Question]) -> Iterator[tuple[Found, list[Question]]]:
    groups: dict[Found, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.ddl, []).append(question)
    for ddl, members in groups.items():
        for start in range(0, len(members), CHUNK):
            yield ddl, members[start : start + CHUNK]


def _work(server: Server, left: "queue.SimpleQueue[tuple[Found, list[Question]]]", done: Done, stop: threading.Event) -> None:
    """Take groups until there are none; None says that this worker is done."""
    try:
        desk = Desk(server)
        while not stop.is_set():
            try:
                ddl, members = left.get_nowait()
            except queue.Empty:
                break
            done.put(desk.judge(schema_of(ddl), members))
        desk.close()
    finally:
        done.put(None)


class Desk:
    """A database of one worker's own, in which one group of answers is judged after the other."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.database = ""
        self.connection: Connection[tuple[object, ...]] | None = None
        self.functions: frozenset[str] = frozenset()

    def close(self) -> None:
        """Let go of the connection."""
        if self.connection:
            self.connection.close()
        self.connection = None

    def judge(self, schema: Schema, questions: Sequence[Question]) -> list[tuple[int, Verdict]]:
        """What each answer does on these tables."""
        if schema.unusable:
            return [(question.number, not_checked(schema.unusable)) for question in questions]
        made: list[tuple[int, Verdict]] = []
        loaded = False
        for question in questions:
            statements = split_answer(question.answer)
            if isinstance(statements, Verdict):
                made.append((question.number, statements))
                continue
            try:
                if not loaded and (why := self._load(schema)):
                    return made + [(rest.number, not_checked(why)) for rest in questions[len(made) :]]
                loaded = True
                verdict = self._judge(schema, statements)
            except (StuckError, OSError) as error:  # this answer took the connection with it: the next begin anew
                self.close()
                loaded, verdict = False, not_checked(str(error))
            made.append((question.number, verdict))
        if loaded:
            with contextlib.suppress(StuckError, OSError):
                self._run("ROLLBACK", LOAD_SECONDS)
        return made

    def _load(self, schema: Schema) -> str:
        """Make the tables in a transaction that is never committed. Why that can't be done, or ''."""
        if not self._connected():
            return "PostgreSQL is gone"
        self._run("ROLLBACK", LOAD_SECONDS)
        state, message = self._run(f"BEGIN; {schema.script}; SAVEPOINT loaded", LOAD_SECONDS)
        return f"its tables can't be made: {message}" if state else ""

    def _judge(self, schema: Schema, statements: Sequence[str]) -> Verdict:
        for statement in statements:
            state, message = self._prepare(statement)
            if state:
                self._run("ROLLBACK TO loaded", LOAD_SECONDS)
                return explain(state, message, statement, schema, self.functions)
        return RUNS

    def _connected(self) -> bool:
        """Whether there is a connection, made where there is none: PostgreSQL may just be starting again after an answer took it down."""
        import psycopg

        end = time.monotonic() + RETURN_SECONDS
        while self.connection is None:
            try:
                self.database = self.database or self.server.make_database()
                connection = self.server.connect(self.database, "owner")
                rows = connection.execute("SELECT DISTINCT proname FROM pg_proc")
                self.functions = frozenset(str(row[0]) for row in rows)
                self.connection = connection
            except psycopg.Error:
                if time.monotonic() > end or self.server.process.poll() is not None:
                    return False
                time.sleep(0.1)
        return True

    def _run(self, script: str, seconds: float) -> tuple[str, str]:
        return self._asked(lambda connection: connection.send_query(script.encode()), seconds)

    def _prepare(self, statement: str) -> tuple[str, str]:
        """Protocol Parse: names and types are looked up, nothing is executed."""
        return self._asked(lambda connection: connection.send_prepare(b"", statement.encode()), SECONDS)

    def _asked(self, send: "Callable[[PGconn], None]", seconds: float) -> tuple[str, str]:
        """PostgreSQL's state and message where it refuses, ('', '') where it does not. Raises StuckError, or OSError for a lost connection."""
        import psycopg

        if self.connection is None:
            raise OSError("PostgreSQL is gone")
        connection = self.connection.pgconn
        try:
            return _refusal(exchange(connection, lambda: send(connection), seconds))
        except psycopg.Error as error:
            raise OSError("PostgreSQL closed the connection") from error


def _refusal(result: "PGresult") -> tuple[str, str]:
    from psycopg.pq import DiagnosticField, ExecStatus

    if result.status != ExecStatus.FATAL_ERROR:
        return "", ""
    state, message = (result.error_field(field) or b"" for field in (DiagnosticField.SQLSTATE, DiagnosticField.MESSAGE_PRIMARY))
    return state.decode() or "XX000", message.decode(errors="replace")


def split_answer(answer: str) -> list[str] | Verdict:
    """The statements of an answer that can be judged one after the other, or why they can't."""
    from pglast.parser import ParseError, split

    if len(answer) > LONGEST:
        return not_checked(f"longer than {LONGEST:,} characters")
    bare = QUOTED.sub(" ", answer)
    for pattern, what in BLANKS:
        if pattern.search(bare):
            return not_checked(f"holds {what}")
    try:
        answer.encode()
        statements = [text for text in (split(answer) if ";" in bare.rstrip("; \t\r\n") else [answer]) if text.strip()]
    except (ParseError, ValueError, RecursionError):
        return not_checked("not read")
    words = {found[1].lower() if (found := FIRST_WORD.match(text)) else "" for text in statements}
    if len(statements) > 1 and not words <= READING:
        return not_checked("several statements, of which not all read")
    if other := words - ANALYSED:
        return not_checked(f"{min(other).upper() or 'a'} statement")
    return statements
