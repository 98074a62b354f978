"""One message to the server and its answer, in a time and a size that the client keeps to, whatever the server does."""

import fcntl
import select
import struct
import termios
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult


class StuckError(Exception):
    """The server gave no sign for longer than its own limit: the connection is of no more use."""


class TooLargeError(Exception):
    """A result holds more bytes than any answer needs: the connection is of no more use."""


def exchange(session: "PGconn", send: Callable[[], None], seconds: float, most_bytes: int | None = None) -> "PGresult":
    """What the server answers: the result that refuses, where there is one, else the last. Raises psycopg.Error, StuckError and TooLargeError."""
    import psycopg
    from psycopg.pq import ExecStatus

    end, read = time.monotonic() + seconds, 0
    send()
    while session.flush():
        _wait(session, end, select.POLLIN | select.POLLOUT)
        session.consume_input()
    refused: PGresult | None = None
    last: PGresult | None = None
    while True:
        while session.is_busy():
            _wait(session, end, select.POLLIN)
            read += _waiting(session)
            if most_bytes is not None and read > most_bytes:
                raise TooLargeError
            session.consume_input()
        found = session.get_result()
        if found is None:
            break
        last = found
        if refused is None and found.status == ExecStatus.FATAL_ERROR:
            refused = found
    if last is None:
        raise psycopg.OperationalError("no answer")
    return refused or last


def _wait(session: "PGconn", end: float, events: int) -> None:
    poll = select.poll()
    poll.register(session.socket, events)
    if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
        raise StuckError("PostgreSQL took too long")


def _waiting(session: "PGconn") -> int:
    """Bytes that were received and not read yet."""
    (waiting,) = struct.unpack("i", fcntl.ioctl(session.socket, termios.FIONREAD, bytes(4)))
    return int(waiting)
