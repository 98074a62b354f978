"""Where the DDL of a prompt begins and ends, whatever else the prompt says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 1 << 20  # characters of a prompt that are read
DEEPEST, WIDEST = 100, 5_000  # brackets in brackets, and characters between two commas or brackets, that a statement may have
NAME_PART = r'(?:"(?:[^"]|"")+"|`[^`\n]+`|\[[^\]\n]+\]|[\w$#]+)'
NAME = rf"{NAME_PART}(?:\s*\.\s*{NAME_PART})*"
GAP = r"(?:\s|--[^\n]{0,1000}+\n|/\*.*?\*/)*+"
EXISTS = r"(?:IF\s+NOT\s+EXISTS\s+)?"
TABLE = re.compile(
    rf"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?P<kind>(?:\w+\s+){{0,2}}?)TABLE\s+{EXISTS}(?P<name>{NAME}){GAP}(?P<then>\(|\Z|PARTITION\s+OF\b|AS\b|LIKE\b|OF\b)",
    re.IGNORECASE | re.DOTALL,
)
TYPE = re.compile(rf"\bCREATE\s+TYPE\s+(?P<name>{NAME}){GAP}AS\b{GAP}(?:ENUM\b|RANGE\b)?{GAP}(?P<then>\()", re.IGNORECASE | re.DOTALL)
DOMAIN = re.compile(rf"\bCREATE\s+DOMAIN\s+{NAME}\s+(?:AS\s+)?\w", re.IGNORECASE)
ALTER = re.compile(
    rf"\bALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?{NAME}\s+(?:WITH\s+(?:NO)?CHECK\s+)?(?:ADD|DROP|RENAME|ALTER|MODIFY|CHANGE|SET)\b",
    re.IGNORECASE,
)
# what may give an answer more names than the tables do
OTHER = re.compile(
    rf"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:TEMP|TEMPORARY|RECURSIVE|MATERIALIZED|CONSTRAINT)\s+)*"
    rf"(?P<what>VIEW|FUNCTION|PROCEDURE|AGGREGATE|OPERATOR|SEQUENCE|EXTENSION|CAST|SYNONYM)\s+{EXISTS}{NAME}{GAP}(?=[;(.]|AS\b|RETURNS\b|START\b|INCREMENT\b|WITH\b|FOR\b|\Z)",
    re.IGNORECASE | re.DOTALL,
)
PLAIN = {"", "temp", "temporary", "unlogged", "global temporary", "local temporary", "global temp", "local temp"}
PROSE = re.compile(r"(?:statements?|commands?|definitions?|schemas?|quer(?:y|ies)|syntax|scripts?|ddls?|sql|blocks?)", re.IGNORECASE)
INHERITS = re.compile(rf"{GAP}INHERITS\s*\([^()]*\)", re.IGNORECASE | re.DOTALL)
AS = re.compile(rf"{GAP}AS\b", re.IGNORECASE | re.DOTALL)
BLANK = re.compile(r"\n\s*\n")
DOLLAR = re.compile(r"\$(?:[^\W\d]\w*)?\$")
MOVES = re.compile(r"""['"`;,()\[\]]|--|/\*|\$""")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The statements of a prompt that say what its tables are, in order."""

    statements: tuple[str, ...] = ()
    unread: str = ""  # what of it can't be read


def find_statements(prompt: str) -> Found:
    """The CREATE TABLE, CREATE TYPE, CREATE DOMAIN and ALTER TABLE of a prompt. `unread` names what else it creates."""
    if len(prompt) > LONGEST:
        return Found(unread=f"the prompt is longer than {LONGEST:,} characters")
    if other := OTHER.search(prompt):
        return Found(unread=f"the prompt holds CREATE {' '.join(other['what'].upper().split())}")
    found: list[tuple[int, str]] = []
    end = 0
    for head in TABLE.finditer(prompt):
        if head.start() < end or (PROSE.fullmatch(head["name"]) and head["then"] != "("):
            continue
        if PROSE.fullmatch(head["name"]) and not _looks_like_columns(prompt, head.end()):
            continue
        kind = " ".join(head["kind"].lower().split())
        if kind not in PLAIN:
            return Found(unread=f"the prompt holds CREATE {kind.upper()} TABLE")
        text = _table(prompt, head)
        if not text:
            return Found(unread=f"a CREATE TABLE that does not end, or is no list of columns: {head['name']}")
        end = head.start() + len(text)
        found.append((head.start(), text))
    for pattern in (TYPE, DOMAIN, ALTER):
        end = 0
        for head in pattern.finditer(prompt):
            if head.start() < end:  # one without an end of its own reaches up to here
                continue
            stop = closing(prompt, head.start("then")) if pattern is TYPE else _until_semicolon(prompt, head.end())
            if stop is None:
                return Found(unread=f"DDL that does not end: {head[0][:40]}")
            found.append((head.start(), prompt[head.start() : stop]))
            end = stop
    return Found(statements=tuple(text for _, text in sorted(found)))


def quoted(name: str) -> str:
    """A name as DDL writes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _looks_like_columns(prompt: str, start: int) -> bool:
    """Whether brackets behind a word such as `statements` hold columns, and no remark."""
    stop = closing(prompt, start - 1)
    return stop is not None and (
        "," in prompt[start:stop] or bool(re.search(r"\b(?:int|integer|text|varchar|key)\b", prompt[start:stop], re.IGNORECASE))
    )


def _table(prompt: str, head: re.Match[str]) -> str:
    """The text of a CREATE TABLE up to the end of its columns; '' where it has none."""
    then = head["then"].upper()
    if then.startswith("PARTITION"):
        return prompt[head.start() : _until_semicolon(prompt, head.end())]
    stop = closing(prompt, head.end() - 1) if then == "(" else None
    if stop is None or AS.match(prompt, stop):
        return ""
    parents = INHERITS.match(prompt, stop)
    return prompt[head.start() : parents.end() if parents else stop]


def marks(text: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """Brackets, commas and semicolons of quotes and comments: where each is, and what. A quote that never ends is `open`."""
    place = start
    while move := MOVES.search(text, place):
        sign, place = move[0], move.end()
        if sign in "'\"`":
            while True:  # a doubled quote is the quote itself
                place = text.find(sign, place) + 1
                if not place:
                    yield len(text), "open"
                    return
                if text[place : place + 1] != sign:
                    break
                place += 1
        elif sign == "--":
            place = (text.find("\n", place) + 1) or len(text)
        elif sign == "/*":
            close = text.find("*/", place)
            place = len(text) if close < 0 else close + 2
        elif sign == "$":
            tag = DOLLAR.match(text, move.start())
            if tag and (close := text.find(tag[0], tag.end())) >= 0:
                place = close + len(tag[0])
        else:
            yield move.start(), sign


def is_deep(text: str) -> bool:
    """Whether a statement may nest so deeply that building its tree takes Python down: 1 + 1 + ... of 20,000 terms does (pglast 8.8)."""
    depth, last = 0, 0
    for place, sign in marks(text):
        depth += (sign in "([") - (sign in ")]")
        if depth > DEEPEST or place - last > WIDEST:
            return True
        last = place
    return len(text) - last > WIDEST


def closing(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` is closed, and one further; None where it is not."""
    depth = 0
    for place, sign in marks(text, start):
        if sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0:
                return place + 1
        elif sign in (";", "open"):
            return None
    return None


def _until_semicolon(prompt: str, start: int) -> int:
    """Where a statement without brackets of its own ends: at its semicolon, a blank line or the end."""
    blank = BLANK.search(prompt, start)
    stop = blank.start() if blank else len(prompt)
    return next((min(place, stop) for place, sign in marks(prompt, start) if sign in (";", "open")), stop)
