"""A database of a judge's own: one connection that makes its tables and rows, another that may only read them."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from preflight.postgres import ddl
from preflight.postgres.catalog import Table, read_catalog
from preflight.postgres.ddl_text import quoted
from preflight.postgres.links import Row
from preflight.postgres.running import LostError
from preflight.postgres.server import Server

if TYPE_CHECKING:
    from psycopg import Connection

RESTART_SECONDS = 15.0  # a server whose process died takes 0.3 s to be there again


class Session:
    """One database and its two connections; what is loaded stays until another schema is."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.database = server.make_database()
        self.tables: tuple[Table, ...] = ()
        self._loaded: ddl.Schema | None = None
        self._connect()

    def _connect(self) -> None:
        self.owner = self.server.connect(self.database, "owner")
        self.reader: Connection[tuple[object, ...]] = self.server.connect(self.database, "reader")
        self._process = self.reader.info.backend_pid

    @contextlib.contextmanager
    def _noticing(self) -> Iterator[None]:
        """LostError in the place of an error that came with the end of a connection: when one process dies, the server ends them all."""
        import psycopg

        try:
            yield
        except psycopg.OperationalError as error:
            if self.owner.closed or self.reader.closed:
                raise LostError(str(error)) from error
            raise

    def load(self, schema: ddl.Schema) -> None:
        """Make the schema's tables, unless they are there. Raises psycopg.Error, after which none are, and LostError."""
        if self._loaded == schema:
            return
        with self._noticing():
            self.reader.execute("ROLLBACK")
            ddl.unload(self.owner)
            self._loaded, self.tables = None, ()
            ddl.load(self.owner, schema)
            places = ", ".join(quoted(name) for name in ("public", *schema.namespaces))
            self.reader.execute(f"SET search_path = {places}".encode())
            self.tables = read_catalog(self.owner)
            self._loaded = schema

    def fill(self, rows: Mapping[Table, tuple[Row, ...]], backwards: bool = False) -> None:
        """Have these rows in these tables, and no others. One that breaks a constraint is left out. Raises psycopg.Error and LostError."""
        with self._noticing():
            self._fill(rows, backwards)

    def _fill(self, rows: Mapping[Table, tuple[Row, ...]], backwards: bool) -> None:
        import psycopg

        statements = ["BEGIN", *(f"DELETE FROM {_name(table)}" for table in rows)]
        inserts = {table: f"INSERT INTO {_name(table)} ({_columns(table)}) OVERRIDING SYSTEM VALUE VALUES " for table in rows}
        values = {table: [_values(table, row) for row in (reversed(part) if backwards else part)] for table, part in rows.items()}
        for table, parts in values.items():
            if parts:
                statements.append(f"{inserts[table]}{', '.join(parts)} ON CONFLICT DO NOTHING")
        try:
            self.owner.execute("; ".join([*statements, "COMMIT"]).encode())
            return
        except psycopg.errors.DatabaseError:
            self.owner.execute("ROLLBACK")
        self.owner.execute("; ".join(f"DELETE FROM {_name(table)}" for table in rows).encode())
        for table, parts in values.items():
            for part in parts:
                with contextlib.suppress(psycopg.errors.IntegrityError, psycopg.errors.DataError):
                    self.owner.execute(f"{inserts[table]}{part} ON CONFLICT DO NOTHING".encode())

    def reopen(self) -> None:
        """Begin anew after a connection was lost; a process that is still at work is ended. Raises LostError."""
        import psycopg

        self.close()
        end, last = time.monotonic() + RESTART_SECONDS, ""
        self._end_process()
        while time.monotonic() < end:
            try:
                self.database = self.server.make_database()
                self._loaded, self.tables = None, ()
                self._connect()
                return
            except psycopg.Error as error:
                last = str(error)
                time.sleep(0.1)
        raise LostError(f"the server is gone: {last}")

    def _end_process(self) -> None:
        """End the process behind the reader's connection, should it still run: first as one asks, then as none can refuse."""
        import psycopg

        with contextlib.suppress(psycopg.Error), self.server.connect("postgres", "postgres") as connection:
            for _ in range(20):
                asked = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND datname = %s"
                if not connection.execute(asked, (self._process, self.database)).fetchall():
                    return
                time.sleep(0.05)
            with contextlib.suppress(OSError):
                os.kill(self._process, signal.SIGKILL)  # the server then ends all its sessions and is there again in 0.3 s

    def close(self) -> None:
        """Close both connections."""
        for connection in (self.owner, self.reader):
            with contextlib.suppress(Exception):
                connection.close()


def _name(table: Table) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def _columns(table: Table) -> str:
    return ", ".join(quoted(column.name) for column in table.columns if not column.generated)


def _values(table: Table, row: Row) -> str:
    parts = [value for column, value in zip(table.columns, row, strict=True) if not column.generated]
    return f"({', '.join('NULL' if value is None else _literal(value) for value in parts)})"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"  # standard_conforming_strings is on: a backslash is one
