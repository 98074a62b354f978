"""Whether answers are SQL, by PostgreSQL's own grammar where pglast is installed."""

import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from preflight.findings import Finding

NEAR_EMPTY = 6  # characters
COMMENTS = re.compile(r"(?:\s|;|--[^\n]*+|/\*.*?\*/)*+", re.DOTALL)
LITERAL = re.compile(r"'(?:[^']|'')*+'")
ODD = re.compile("[\u00a0\u3000\u2018\u2019\u201c\u201d\uff07\uff02\uff0c\uff1b\uff08\uff09\uff1d\u200b\ufeff]")
Refuse = Callable[[str], str]  # an answer -> why the parser refuses it, or ''


def find_parser() -> Refuse | None:
    """PostgreSQL's parser, or None where pglast is not installed."""
    if importlib.util.find_spec("pglast") is None:
        return None
    from pglast.parser import ParseError, parse_sql_json

    def refuse(answer: str) -> str:
        try:
            parse_sql_json(answer)
        except ParseError as error:
            return str(error.args[0])
        except (ValueError, RecursionError) as error:  # a NUL byte, for one
            return str(error)
        return ""

    return refuse


def says_nothing(answer: str) -> bool:
    """Whether an answer is empty or nearly so: nothing but comments and semicolons, or a SELECT of nothing."""
    bare = answer.strip(" \t\r\n;")
    return len(bare) < NEAR_EMPTY or bare.upper() == "SELECT" or (bare.startswith(("--", "/*")) and bool(COMMENTS.fullmatch(answer)))


def is_odd(answer: str) -> bool:
    """Whether an answer holds a NUL, or outside of its literals a character that only looks like one of SQL's."""
    if "\0" in answer:
        return True
    return not answer.isascii() and bool(ODD.search(LITERAL.sub("", answer)))


def check_odd(path: Path, lines: Sequence[int]) -> list[Finding]:
    """`data.odd-characters`: answers that PostgreSQL can't run as they are written."""
    if not lines:
        return []
    message = f"{len(lines):,} answers hold a NUL, or outside of literals a typographic quote, a non-breaking space or a full-width sign; "
    message += f"the first in line {lines[0]:,}"
    fix = "write ' \" , ; ( ) and plain spaces in their place: the model learns what the answers say"
    return [Finding(code="data.odd-characters", level="warning", where=f"{path}:{lines[0]}", message=message, fix=fix)]


def check_sql(path: Path, parsed: int, refused: Sequence[tuple[int, str]], count: int) -> list[Finding]:
    """`data.sql`: answers that PostgreSQL does not parse, and the first of them."""
    if not count:
        return []
    first = "; ".join(f"line {line}: {why}" for line, why in refused[:3])
    return [
        Finding(
            code="data.sql",
            level="warning",
            where=f"{path}:{refused[0][0]}",
            message=f"{count:,} of {parsed:,} answers are not PostgreSQL, by its own grammar. {first}",
            fix="fix or delete them: the model learns what they say. Another dialect, or answers that are more than SQL, are no fault",
        )
    ]
