"""Whether answers are SQL, by PostgreSQL's own grammar where pglast is installed."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from preflight.findings import Finding

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
