"""The tables of a prompt: read from its text, and made in a private database.

Nothing of a prompt is run as it is written. Each statement goes through a parser, and what is run is written anew from a tree of which only tables,
columns, types and keys are left. Defaults, checks and generated columns go: no answer needs them to be understood, and they hold expressions.
Foreign keys go as well, since parents may be missing or come later; they are kept as hints.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from preflight.postgres.ddl_dialects import translate
from preflight.postgres.ddl_text import Found, find_statements
from preflight.postgres.ddl_trees import Gathered, UnreadError, gather

if TYPE_CHECKING:
    from psycopg import Connection

MOST = 1000  # tables and types of a prompt
# what role owner made, parts of it last: a table goes with its indexes and its own type
MADE = """
SELECT format('DROP TABLE IF EXISTS %s CASCADE', oid::regclass) FROM pg_class WHERE relowner = 'owner'::regrole AND relkind IN ('r', 'p')
UNION ALL
SELECT format('DROP TYPE IF EXISTS %s CASCADE', oid::regtype) FROM pg_type
WHERE typowner = 'owner'::regrole AND (typtype IN ('e', 'd') OR typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c'))
UNION ALL
SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) FROM pg_namespace WHERE nspowner = 'owner'::regrole
"""


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """A foreign key as the prompt has it: names folded and unquoted, those of a schema other than public before a dot."""

    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...] = ()  # none where the prompt names none


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What a prompt says of its tables."""

    statements: tuple[str, ...] = ()  # safe to be run by role owner, in an order that works
    foreign_keys: tuple[ForeignKey, ...] = ()  # hints: there is no such constraint
    unread: str = ""  # why some or all of the DDL could not be read
    namespaces: tuple[str, ...] = ()  # PostgreSQL's schemas beside public, made by the first statements; to be put into search_path
    translated: bool = False  # from another dialect, whose names have no case

    @property
    def unusable(self) -> str:
        """Why answers can't be judged on it, or ''."""
        return self.unread or ("" if self.statements else "the prompt holds no CREATE TABLE")

    @property
    def script(self) -> str:
        """All of it as role owner runs it, with the right of role reader to read."""
        places = ", ".join(f'"{name}"' for name in ("public", *self.namespaces))
        usage = [f"GRANT USAGE ON SCHEMA {places} TO reader"] if self.namespaces else []
        path = [f"SET search_path = {places}"] if self.namespaces else []
        return ";\n".join([*self.statements, *usage, f"GRANT SELECT ON ALL TABLES IN SCHEMA {places} TO reader", *path])


def read_schema(prompt: str) -> Schema:
    """The tables of a prompt, or why they can't be read."""
    return schema_of(find_statements(prompt))


@lru_cache(256)
def schema_of(found: Found) -> Schema:
    """The tables of the statements that were found in a prompt, or why they can't be read. Many prompts hold the same."""
    if found.unread:
        return Schema(unread=found.unread)
    if len(found.statements) > MOST:
        return Schema(unread=f"the prompt holds more than {MOST:,} CREATE statements")
    try:
        gathered, translated = _gather(found)
        statements = gathered.statements
    except UnreadError as error:
        return Schema(unread=str(error))
    keys = tuple(ForeignKey(table=key[0], columns=key[1], parent=key[2], parent_columns=key[3]) for key in gathered.foreign_keys)
    return Schema(statements=statements, foreign_keys=keys, namespaces=tuple(gathered.namespaces), translated=translated)


def load(connection_owner: "Connection[tuple[object, ...]]", schema: Schema) -> None:
    """Make the tables in a private database whose `public` is empty, all of them or none. Raises psycopg.Error."""
    connection_owner.execute(schema.script)  # one simple query: one transaction


def unload(connection_owner: "Connection[tuple[object, ...]]") -> None:
    """Take away all that role owner made. Raises psycopg.Error."""
    drops = [str(row[0]) for row in connection_owner.execute(MADE)]
    connection_owner.execute(";\n".join([*drops, "RESET search_path"]))


def _gather(found: Found) -> tuple[Gathered, bool]:
    """All statements in one, and whether any was of another dialect. Raises UnreadError."""
    gathered, translated = Gathered(), False
    for text in found.statements:
        try:
            gather(text, gathered)
        except SyntaxError as error:
            try:
                other = translate(text)
                gather(other, gathered)
            except (SyntaxError, UnreadError) as problem:
                raise UnreadError(str(problem) if isinstance(problem, UnreadError) else f"DDL that is not read: {error}") from None
            translated = True
    return gathered, translated
