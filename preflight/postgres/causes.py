"""What PostgreSQL's refusal of an answer means: its cause in words and the mend, or why it proves nothing."""

import re
from dataclasses import dataclass
from typing import Literal

from preflight.postgres.ddl import Schema
from preflight.postgres.dialects import DIALECT_FUNCTIONS, DIALECT_TYPES, EXTENSION_NAMES, EXTENSION_OPERATORS, EXTENSION_PATTERNS

State = Literal["runs", "fails", "not checked"]

UNKNOWN_COLUMN, UNKNOWN_TABLE, AMBIGUOUS, GROUP_BY = "unknown column", "unknown table", "ambiguous name", "GROUP BY"
TYPES, QUOTED, FOLDED, DIALECT = "types", "double-quoted string", "case of a name", "another dialect"
UNKNOWN_FUNCTION, ORDER_BY, OTHER = "unknown function", "ORDER BY", "other"
MENDS = {
    UNKNOWN_COLUMN: "name a column that the CREATE TABLE of the same row has, or put the right schema into the prompt",
    UNKNOWN_TABLE: "name a table that the prompt creates, and every table that is used in FROM; or put the right schema into the prompt",
    AMBIGUOUS: "put the table's name or alias before the column: t.id",
    GROUP_BY: "put every selected column into GROUP BY or into an aggregate",
    TYPES: "compare and compute like with like: a cast such as price::numeric, a literal of the column's type",
    QUOTED: 'write strings in single quotes: in PostgreSQL "..." is a name',
    FOLDED: "write a name in double quotes exactly where the CREATE TABLE does: without them it is folded to lower case",
    DIALECT: "write PostgreSQL's own: extract(year FROM d), coalesce, now(), d1 - d2, to_char, string_agg",
    UNKNOWN_FUNCTION: "use a function that PostgreSQL has, or leave the row out",
    ORDER_BY: "sort by what is selected: with DISTINCT, and by position, there is nothing else",
    OTHER: "run it on PostgreSQL and mend what it says, or delete the row",
}
CAUSES = {
    "42703": UNKNOWN_COLUMN,
    "42P01": UNKNOWN_TABLE,
    "3F000": UNKNOWN_TABLE,
    "42702": AMBIGUOUS,
    "42P09": AMBIGUOUS,
    "42712": AMBIGUOUS,
    "42803": GROUP_BY,
    "42P10": ORDER_BY,
    "42883": UNKNOWN_FUNCTION,
} | dict.fromkeys(("42704", "42725", "42804", "42846", "42P18", "42P38", "22P02", "22003", "22007", "22008", "22009", "42809"), TYPES)
NO_PROOF = ("08", "53", "54", "55", "57", "58", "XX")  # classes of states that say something of the server: connection, resources, limits, time
MISSING = re.compile(
    r'(?:column|relation|schema|FROM-clause entry for table|type) "?(?:[^".]+\.)*"?(?P<name>[^"]+?)"?(?: of relation "[^"]*")?(?: does not exist|$)'
)
FUNCTION = re.compile(r"(?:function|aggregate|procedure) (?:[\w\"]+\.)?(?P<name>[\w\"]+)\(")
OPERATOR = re.compile(r"operator does not exist: (?:.*? )?(?P<sign>[-+*/<>=~!@#%^&|`?]+) ")
SEQUENCE = re.compile(r"\b(?:nextval|currval|setval|regclass|pg_get_serial_sequence)\b", re.IGNORECASE)
IDENTIFIER = re.compile(r'"(?:[^"]|"")+"|[^\W\d][\w$]*')


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an answer does on the tables of its prompt."""

    state: State
    cause: str = ""  # of one that fails, a key of MENDS; why another was not checked
    message: str = ""  # PostgreSQL's own


RUNS = Verdict(state="runs")


def not_checked(reason: str) -> Verdict:
    """A verdict that says nothing of the answer."""
    return Verdict(state="not checked", cause=reason)


def explain(sqlstate: str, message: str, answer: str, schema: Schema, functions: frozenset[str]) -> Verdict:
    """What a refusal means. `functions` are the names of those that this PostgreSQL has."""
    if not sqlstate or sqlstate.startswith(NO_PROOF):
        return not_checked(f"PostgreSQL gave up: {message}" if message else "PostgreSQL gave up")
    cause = CAUSES.get(sqlstate, OTHER)
    if cause in (UNKNOWN_COLUMN, UNKNOWN_TABLE):
        return _unknown_name(cause, message, answer, schema)
    if cause == UNKNOWN_FUNCTION:
        return _unknown_function(message, schema, functions)
    if sqlstate == "42704":
        return _unknown_type(message)
    if cause == TYPES and schema.translated:
        return not_checked("types of another dialect's CREATE TABLE")
    return Verdict(state="fails", cause=cause, message=message)


def _unknown_name(cause: str, message: str, answer: str, schema: Schema) -> Verdict:
    found = MISSING.search(message)
    name = found["name"] if found else ""
    if cause == UNKNOWN_TABLE and SEQUENCE.search(answer):
        return not_checked("uses a sequence, which the prompt doesn't say")
    if extension := EXTENSION_NAMES.get(name):
        return not_checked(f"needs {extension}")
    names = {part.strip('"') for text in schema.statements for part in IDENTIFIER.findall(text)}
    if name and any(one != name and one.lower() == name.lower() for one in names):
        if schema.translated:
            return not_checked("names of another dialect's CREATE TABLE, which has no case")
        return Verdict(state="fails", cause=FOLDED, message=message)
    if cause == UNKNOWN_COLUMN and name and f'"{name}"' in answer and f'."{name}"' not in answer:
        cause = QUOTED
    return Verdict(state="fails", cause=cause, message=message)


def _unknown_function(message: str, schema: Schema, functions: frozenset[str]) -> Verdict:
    if operator := OPERATOR.search(message):
        if extension := EXTENSION_OPERATORS.get(operator["sign"]):
            return not_checked(f"may need {extension}")
        return not_checked("types of another dialect's CREATE TABLE") if schema.translated else Verdict(state="fails", cause=TYPES, message=message)
    found = FUNCTION.search(message)
    name = found["name"].strip('"').lower() if found else ""
    if extension := EXTENSION_NAMES.get(name) or next((title for pattern, title in EXTENSION_PATTERNS if pattern.fullmatch(name)), ""):
        return not_checked(f"needs {extension}")
    if name in functions and name not in DIALECT_FUNCTIONS:  # PostgreSQL has it, and not for these types
        return not_checked("types of another dialect's CREATE TABLE") if schema.translated else Verdict(state="fails", cause=TYPES, message=message)
    return Verdict(state="fails", cause=DIALECT if name in DIALECT_FUNCTIONS else UNKNOWN_FUNCTION, message=message)


def _unknown_type(message: str) -> Verdict:
    found = MISSING.search(message)
    name = found["name"].lower() if found and message.startswith("type") else ""
    if extension := EXTENSION_NAMES.get(name):
        return not_checked(f"needs {extension}")
    if name in DIALECT_TYPES:
        return Verdict(state="fails", cause=DIALECT, message=message)
    return Verdict(state="fails", cause=TYPES, message=message) if name else not_checked(message)
