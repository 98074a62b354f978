"""Run one query as it stands, by a role that may only read: bounded in time, rows and bytes, and never more than one statement."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from preflight.postgres.exchange import StuckError, TooLargeError, exchange
from preflight.postgres.limits import STATEMENT_SECONDS

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGconn, PGresult

MOST_ROWS = 5_000
MOST_BYTES = 16 << 20
# the server ends a statement after its own limit; this is for one that it does not end
PATIENCE = STATEMENT_SECONDS + 1.5
TIMEOUT = "57014"
# what the machine could not, and another one might: out of memory, of space for files, of locks
RESOURCES = ("53", "57")


class LostError(Exception):
    """The connection is gone, or was given up."""


class RefusedError(Exception):
    """The server refused a query."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate

    @property
    def is_timeout(self) -> bool:
        """Whether it took too long, which says nothing of its rows."""
        return self.sqlstate == TIMEOUT


@dataclass(frozen=True, kw_only=True)
class Result:
    """Rows as PostgreSQL writes them, with the names and the types (pg_type.oid) of their columns."""

    names: tuple[str, ...]
    types: tuple[int, ...]
    rows: tuple[tuple[str | None, ...], ...]


def run_query(connection: "Connection[tuple[object, ...]]", query: str, most_rows: int = MOST_ROWS) -> Result:
    """The first rows of a query. Raises RefusedError, TooLargeError and LostError.

    A cursor of the extended protocol takes one query, and nothing else: no second statement, nothing that changes anything.
    """
    session = connection.pgconn
    try:
        text = query.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("22021", "it is not UTF-8") from error
    if b"\0" in text:
        raise RefusedError("22021", "it holds a NUL")
    _begin(session)
    _ask(session, lambda: session.send_query_params(b"DECLARE answer NO SCROLL CURSOR FOR " + text, None))
    found = _ask(session, lambda: session.send_query_params(b"FETCH %d FROM answer" % most_rows, None))
    columns = range(found.nfields)
    rows = tuple(tuple(_text(found.get_value(row, column)) for column in columns) for row in range(found.ntuples))
    names = tuple(_text(found.fname(column)) or "" for column in columns)
    return Result(names=names, types=tuple(found.ftype(column) for column in columns), rows=rows)


def _begin(session: "PGconn") -> None:
    """Leave the transaction of the query before, and begin one."""
    for _ in range(2):  # the first ROLLBACK after a full temporary file can fail as the query did
        with contextlib.suppress(RefusedError):
            _ask(session, lambda: session.send_query(b"ROLLBACK; BEGIN READ ONLY"))
            return
    raise LostError("no transaction can be begun")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _ask(session: "PGconn", send: Callable[[], None]) -> "PGresult":
    """Send one message and wait for its answer, not for ever."""
    import psycopg
    from psycopg import pq

    try:
        found = exchange(session, send, PATIENCE, MOST_BYTES)
    except psycopg.Error as error:
        raise LostError(str(error)) from error
    except StuckError as error:
        session.get_cancel().cancel()
        session.finish()
        raise LostError("it did not end when it was told to") from error
    except TooLargeError:
        session.finish()
        raise
    if session.status != pq.ConnStatus.OK:
        raise LostError(_line(session.error_message))
    if found.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        return found
    state = found.error_field(pq.DiagnosticField.SQLSTATE)
    message = found.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or found.error_message
    if state is None or state.startswith(b"57P"):
        raise LostError(_line(message))
    raise RefusedError(state.decode(), _line(message))


def _line(message: bytes | str) -> str:
    text = message.decode(errors="replace") if isinstance(message, bytes) else message
    return " ".join(text.split())[:300]
