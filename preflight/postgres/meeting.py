"""Which comparisons a value meets, as far as that can be said without asking the server."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from preflight.postgres.catalog import Column
from preflight.postgres.conditions import Atom
from preflight.postgres.pools import family, read_number

RANGES = ("<", "<=", ">", ">=")
EDGES = 0.6  # of the values of a column that the query asks about
PLACES = {"year": 0, "month": 1, "day": 2}


def meets(atom: Atom, column: Column, value: str | None) -> bool | None:
    """Whether a value meets a comparison; None where that can't be said here."""
    if atom.operator in ("null", "not null"):
        return (value is None) == (atom.operator == "null")
    if value is None:
        return False
    left = _part(family(column), value, atom.of)
    rights = [_like_left(left, constant) for constant in atom.values]
    if left is None or None in rights:
        return None
    if atom.operator in ("in", "not in"):
        return (left in rights) == (atom.operator == "in")
    if "~~" in atom.operator:
        flags = re.DOTALL | (re.IGNORECASE if atom.operator.endswith("*") else 0)
        return bool(re.fullmatch(_expression(atom.values[0]), str(left), flags)) != atom.operator.startswith("!")
    right = rights[0]
    compared: dict[str, Callable[[], bool]] = {
        "=": lambda: left == right,
        "<>": lambda: left != right,
        "<": lambda: left < right,  # type: ignore[operator]
        "<=": lambda: left <= right,  # type: ignore[operator]
        ">": lambda: left > right,  # type: ignore[operator]
        ">=": lambda: left >= right,  # type: ignore[operator]
    }
    return compared[atom.operator]()


def _part(kind: str, value: str, of: str) -> Decimal | str | None:
    """What of a value is compared, as something that can be compared; None where it is not known."""
    if kind == "number":
        return read_number(value) if of == "" else None
    if kind in ("array", "json", "span", "other"):
        return None
    if kind in ("date", "time"):
        if of in PLACES:
            return read_number(value[:10].split("-")[PLACES[of]])
        return (value if len(value) > 10 else f"{value} 00:00:00") if of == "" else None
    if of in ("lower", "upper"):
        return value.lower() if of == "lower" else value.upper()
    if of == "length":
        return Decimal(len(value))
    return value if of == "" else None


def _like_left(left: Decimal | str | None, constant: str) -> Decimal | str | None:
    if isinstance(left, Decimal):
        return read_number(constant)
    return f"{constant} 00:00:00" if re.fullmatch(r"\d{4}-\d\d-\d\d", constant) else constant


def _expression(pattern: str) -> str:
    return "".join({"%": ".*", "_": "."}.get(sign, re.escape(sign)) for sign in pattern)


def choose(
    pool: Sequence[str], edges: Sequence[str], atoms: Sequence[Atom], column: Column, mode: Atom | bool | None, rng: random.Random
) -> str | None:
    """A value that meets as many of the comparisons as it can, misses one, or any."""
    if not pool:
        return None
    if not atoms or mode is None:
        beside_one = rng.random() < EDGES
        return rng.choice([value for value in pool if beside_one and value in edges] or pool)

    def score(value: str) -> int:
        return sum(meets(atom, column, value) is not (atom == mode) for atom in atoms)

    scores = [score(value) for value in pool]
    best = max(scores)
    fitting = [value for value, points in zip(pool, scores, strict=True) if points == best]
    drawn = rng.random()
    at = [value for value in fitting if drawn < EDGES / 2 and any(_is_at(atom, column, value) for atom in atoms)]
    beside = [value for value in fitting if drawn < EDGES and value in edges]
    return rng.choice(at or beside or fitting)


def _is_at(atom: Atom, column: Column, value: str) -> bool:
    """Whether a value is the very one that a range ends at."""
    return atom.operator in RANGES and bool(meets(replace(atom, operator="="), column, value))
