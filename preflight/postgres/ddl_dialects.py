"""CREATE TABLE of another dialect, written for PostgreSQL: its columns, their types and its keys.

Read part by part, not by a grammar: MySQL, SQLite, SQL Server and Oracle differ in what follows a type, and none of that is needed.
"""

import re
from collections.abc import Iterator

from preflight.postgres.ddl_text import GAP, NAME, NAME_PART, TABLE, closing, marks, quoted
from preflight.postgres.ddl_types import TYPES

SIMPLE = re.compile(r"[\w$#]+")
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/|#\s[^\n]*", re.DOTALL)
CONSTRAINT = re.compile(
    rf"CONSTRAINT\s+(?:(?!PRIMARY\b|UNIQUE\b|FOREIGN\b|CHECK\b){NAME_PART}\s*)?(?=PRIMARY\b|UNIQUE\b|FOREIGN\b|CHECK\b)", re.IGNORECASE
)
COLUMNS = rf"\(\s*(?P<columns>{NAME_PART}(?:\s*\(\d+\))?(?:\s+(?:ASC|DESC))?(?:\s*,\s*{NAME_PART}(?:\s*\(\d+\))?(?:\s+(?:ASC|DESC))?)*)\s*\)"
KEY = re.compile(
    rf"(?P<kind>PRIMARY\s+KEY|UNIQUE)\s*(?:(?:KEY|INDEX|CLUSTERED|NONCLUSTERED)\b\s*)*(?:USING\s+\w+\s*)?(?:{NAME_PART}\s*)?(?:USING\s+\w+\s*)?{COLUMNS}",
    re.IGNORECASE,
)
FOREIGN = re.compile(rf"FOREIGN\s+KEY\s*(?:{NAME_PART}\s*)?{COLUMNS}\s*REFERENCES\s+(?P<parent>{NAME})\s*(?P<theirs>\([^()]*\))?", re.IGNORECASE)
SKIPPED = re.compile(
    r"(?:FULLTEXT|SPATIAL)\b|CHECK\s*\(|PERIOD\s+FOR\b|(?:KEY|INDEX)\s+(?:(?!\()[^\s(]+\s*)?(?:USING\s+\w+\s*)?\(\s*[^\d\s]", re.IGNORECASE
)
COLUMN = re.compile(rf"(?P<name>{NAME_PART}){GAP}(?P<type>\[?[^\W\d]\w*\]?)(?P<rest>.*)", re.DOTALL)
TWO_WORDS = re.compile(r"\s+(?:precision|varying)\b", re.IGNORECASE)
SIZE = re.compile(r"\s*(\(\s*\d+\s*(?:,\s*\d+\s*)?\))")
ARRAY = re.compile(r"(?:\s*\[\s*\d*\s*\])+")
SIZED = {"char", "varchar", "bpchar", "bit", "varbit"}
ALTERED = re.compile(
    rf"ALTER\s+TABLE\s+(?:ONLY\s+)?(?P<name>{NAME})\s+(?:WITH\s+(?:NO)?CHECK\s+)?ADD\s+(?:CONSTRAINT\s+{NAME_PART}\s+)?{FOREIGN.pattern}",
    re.IGNORECASE,
)
LITERAL = re.compile(r"'(?:[^'\\]|''|\\.)*'")
FLAGS = ((re.compile(r"\bPRIMARY\s+KEY\b", re.IGNORECASE), " PRIMARY KEY"), (re.compile(r"\bNOT\s+NULL\b", re.IGNORECASE), " NOT NULL"))
REFERENCE = re.compile(rf"\bREFERENCES\s+(?P<parent>{NAME})\s*(?P<theirs>\([^()]*\))?", re.IGNORECASE)
RESERVED = {"constraint", "primary", "foreign", "unique", "check", "references", "not", "null", "default", "select", "from", "where", "as"}
OWN = {
    "char",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "float",
    "real",
    "text",
    "varchar",
    "uuid",
    "json",
    "smallint",
    "money",
    "xml",
    "inet",
    "interval",
}
OWN |= {"bit", "bytea", "bigint", "float4", "float8", "int2", "int4", "int8", "timetz", "bpchar", "point", "cidr", "macaddr", "varbit"}
LONG = {"double": "float8", "character": "varchar", "char": "varchar", "national": "varchar", "nchar": "varchar", "bit": "varbit"}


def translate(text: str) -> str:
    """A CREATE TABLE as PostgreSQL takes it. Raises SyntaxError."""
    if altered := ALTERED.match(text):
        return f"ALTER TABLE {_name(altered['name'])} ADD {_foreign(_names(altered['columns']), altered)}"
    head = TABLE.match(text)
    if not head or head["then"] != "(":
        raise SyntaxError("not a CREATE TABLE with columns")
    stop = closing(text, head.end() - 1)
    if stop is None:
        raise SyntaxError("brackets that do not close")
    parts = [made for part in _parts(text[head.end() : stop - 1]) for made in _part(part)]
    return f"CREATE TABLE {_name(head['name'])} ({', '.join(parts)})"


def _parts(body: str) -> Iterator[str]:
    """What stands between the commas of a list, without comments."""
    depth, start = 0, 0
    for place, sign in marks(body):
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0:
            yield body[start:place]
            start = place + 1
    yield body[start:]


def _part(part: str) -> Iterator[str]:
    """A column, or a key of the table, as PostgreSQL takes it. Raises SyntaxError."""
    bare = COMMENT.sub(" ", part).strip()
    named = CONSTRAINT.match(bare)
    bare = bare[named.end() :] if named else bare
    if not bare or SKIPPED.match(bare):
        return
    if key := KEY.match(bare):
        yield f"{'PRIMARY KEY' if key['kind'].upper().startswith('P') else 'UNIQUE'} ({_names(key['columns'])})"
    elif foreign := FOREIGN.match(bare):
        yield _foreign(_names(foreign["columns"]), foreign)
    else:
        yield from _column(bare)


def _foreign(own: str, found: re.Match[str]) -> str:
    theirs = f" ({_names(found['theirs'].strip('() '))})" if found["theirs"] else ""
    return f"FOREIGN KEY ({own}) REFERENCES {_name(found['parent'])}{theirs}"


def _column(bare: str) -> Iterator[str]:
    found = COLUMN.fullmatch(bare)
    if not found or found["name"].lower() in RESERVED or found["type"].lower() in RESERVED:
        raise SyntaxError(f"a column that is not read: {bare[:60]}")
    kind, rest = found["type"].strip("[]").lower(), found["rest"]
    if long := TWO_WORDS.match(rest):
        kind, rest = LONG.get(kind, kind), rest[long.end() :]
    size = SIZE.match(rest)
    rest = rest[size.end() :] if size else rest
    array = ARRAY.match(rest)
    mapped, sized = TYPES.get(kind, (kind, kind in SIZED))
    if kind not in TYPES and kind not in OWN:
        raise SyntaxError(f"the type {kind}")
    flags = "".join(flag for pattern, flag in FLAGS if pattern.search(LITERAL.sub("", rest)))
    name = _name(found["name"])
    yield f"{name} {mapped}{size[1] if size and sized else ''}{'[]' if array else ''}{flags}"
    if reference := REFERENCE.search(LITERAL.sub("", rest)):
        yield _foreign(name, reference)


def _names(columns: str) -> str:
    """The columns of a key, without lengths and order."""
    return ", ".join(_name(match[0]) for part in columns.split(",") if (match := re.match(NAME_PART, part.strip())))


def _name(name: str) -> str:
    """A name as PostgreSQL has it. What the dialect quotes has no case there either, where it is a plain word."""
    return ".".join(_folded(part) for part in re.findall(NAME_PART, name))


def _folded(part: str) -> str:
    bare = part[1:-1].replace('""', '"') if part[0] in '"`[' else part
    bare = bare.lower() if SIMPLE.fullmatch(bare) else bare
    return quoted(bare)
