"""What the server itself says of the tables that were loaded: the only description of them that counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

COLUMNS = """
SELECT n.nspname, c.relname, a.attname, b.typname, format_type(b.oid, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END),
       a.attnotnull OR t.typnotnull, a.attgenerated <> '',
       coalesce((SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = b.oid), '{}')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY c.oid, a.attnum
"""
CONSTRAINTS = """
SELECT n.nspname, c.relname, coalesce((SELECT array_agg(a.attname::text) FROM pg_attribute a
       WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey)), '{}')
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype IN ('p', 'u')
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column; the type of one of a domain is the domain's."""

    name: str
    type: str  # as pg_type names it: int4, text, _int4 for an array
    shown: str  # with its precision: numeric(8,2)
    not_null: bool
    generated: bool
    labels: tuple[str, ...]  # of an enumeration


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, with the sets of columns that no two of its rows share."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    unique: tuple[frozenset[str], ...]

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    def is_unique(self, name: str) -> bool:
        """Whether the column alone tells its rows apart."""
        return frozenset({name}) in self.unique


def read_catalog(connection: "Connection[tuple[object, ...]]") -> tuple[Table, ...]:
    """The tables of a database, in the order in which they were made. Raises psycopg.Error."""
    columns: dict[tuple[str, str], list[Column]] = {}
    for schema, table, name, kind, shown, not_null, generated, labels in connection.execute(COLUMNS):
        column = Column(name=str(name), type=str(kind), shown=str(shown), not_null=bool(not_null), generated=bool(generated), labels=_texts(labels))
        columns.setdefault((str(schema), str(table)), []).append(column)
    unique: dict[tuple[str, str], list[frozenset[str]]] = {}
    for schema, table, names in connection.execute(CONSTRAINTS):
        unique.setdefault((str(schema), str(table)), []).append(frozenset(_texts(names)))
    return tuple(Table(schema=key[0], name=key[1], columns=tuple(found), unique=tuple(unique.get(key, ()))) for key, found in columns.items())


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(part) for part in value) if isinstance(value, Sequence) else ()
