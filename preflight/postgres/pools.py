"""Values that a column may hold, around the constants that it is compared with."""

import datetime
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from preflight.postgres.catalog import Column
from preflight.postgres.conditions import Atom

WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "jetty",
    "knoll",
    "larch",
    "marsh",
    "north",
    "opal",
    "pines",
)
NUMBERS = ("1", "2", "3", "5", "8", "12", "20", "35")
DATES = ("2019-03-05", "2020-02-29", "2021-07-14", "2022-11-30", "2023-01-01", "2024-05-20")
FLOATS, INTEGERS = {"float4", "float8"}, {"int2": 32_767, "int4": 2_147_483_647, "int8": 2**63 - 1, "oid": 2**31}
PRECISION = re.compile(r"\((\d+)(?:,(\d+))?\)")
TEXTS = {"text", "varchar", "bpchar", "char", "name", "citext"}
TIMES = {"timestamp", "timestamptz"}


def family(column: Column) -> str:
    """Which kind of values a column holds: number, text, date, time, boolean, enum, array, json, uuid, or other."""
    if column.labels:
        return "enum"
    name = column.type
    if name in INTEGERS or name in FLOATS or name == "numeric":
        return "number"
    if name in TEXTS:
        return "text"
    kinds = {
        "bool": "boolean",
        "date": "date",
        "json": "json",
        "jsonb": "json",
        "uuid": "uuid",
        "time": "clock",
        "timetz": "clock",
        "interval": "span",
    }
    return "time" if name in TIMES else "array" if name.startswith("_") else kinds.get(name, "other")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The values that a column may hold: those around the constants of the query, and others."""

    around: tuple[str, ...]
    plain: tuple[str, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """All of them."""
        return self.around + self.plain


def make_pool(column: Column, atoms: Sequence[Atom], near: Sequence[str]) -> Pool:
    """The values that a column of this type may hold."""
    kind = family(column)
    around: list[str] = []
    for atom in atoms:
        for value in atom.values:
            around += AROUND.get(kind, _same)(value, atom.of, atom.operator)
    for value in near:
        around += AROUND.get(kind, _same)(value, "?", "=")
    plain: Sequence[str] = {"number": NUMBERS, "text": WORDS, "date": DATES, "boolean": ("true", "false"), "enum": column.labels}.get(kind, ())
    if kind == "time":
        plain = [f"{day} {hour}" for day, hour in zip(DATES, ("00:00:00", "09:30:00", "12:00:00", "18:45:10", "23:59:59", "07:05:00"), strict=True)]
    elif kind == "uuid":
        plain = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 9)]
    elif kind == "clock":
        plain = ["00:00:00", "09:30:00", "12:00:00", "23:59:59"]
    elif kind == "span":
        plain = ["1 day", "2 days", "36:00:00", "10 days"]
    elif kind == "json":
        told = list(dict.fromkeys(near))[:6]  # keys and values, without saying which is which
        plain = [json.dumps({key: value}) for key in told for value in (*told, "other") if key != value] + ['{"a": 1}', '{"a": 2, "b": "x"}', "{}"]
    elif kind == "array":
        plain = _arrays(column, [value for atom in atoms for value in atom.values] + list(near))
    beside = tuple(dict.fromkeys(fitted for value in around if (fitted := _fit(value, column)) is not None))
    others = dict.fromkeys(fitted for value in plain if (fitted := _fit(value, column)) is not None)
    return Pool(around=beside, plain=tuple(value for value in others if value not in beside))


def fresh(column: Column, number: int) -> str | None:
    """A value that no other number gives, for columns whose values differ in every row; None where the type is not known."""
    kind = family(column)
    if kind == "number":
        return str(number)
    if kind == "text":
        return _cut(f"{WORDS[number % len(WORDS)]}{number}", column)
    if kind in ("date", "time"):
        day = (datetime.date(2018, 1, 1) + datetime.timedelta(days=37 * number)).isoformat()
        return day if kind == "date" else f"{day} 10:00:00"
    return f"00000000-0000-4000-9000-{number:012d}" if kind == "uuid" else None


def read_number(text: str) -> Decimal | None:
    """A finite number, or None."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _same(value: str, of: str, operator: str) -> Iterator[str]:
    yield value


def _around_number(value: str, of: str, operator: str) -> Iterator[str]:
    number = read_number(value)
    if number is None or abs(number) > 10**15:
        return
    yield from (f"{part:f}" for part in (number, number + 1, number - 1))
    if number != int(number):
        yield from (f"{part:f}" for part in (number + Decimal("0.25"), number - Decimal("0.25")))
    if of == "?":  # a sum or a product of it, perhaps
        yield from (str(part) for part in (int(number) // 2, int(number) // 2 + 1, int(number) // 3))


def _around_text(value: str, of: str, operator: str) -> Iterator[str]:
    if "~~" in operator:
        bare = value.replace("%", "").replace("_", "c")
        yield from (value.replace("%", filling).replace("_", "c") for filling in ("", "ab", "z"))
        yield from (f"z{bare}", f"{bare}z", bare[1:], bare[:-1], bare.lower(), bare.upper(), f"q{bare}q")
    elif of == "length" and value.isdigit():
        yield from ("x" * size for size in (int(value), int(value) + 1, max(int(value) - 1, 0)) if size < 200)
    else:
        yield value
        yield from (value.lower(), value.upper(), value.title()) if of in ("lower", "upper") else ()
        yield from (f"{value}x", value[:-1]) if value else ("x",)


def _around_day(value: str, of: str, operator: str) -> Iterator[str]:
    if of == "month" and value.isdigit() and 1 <= int(value) <= 12:
        yield from (f"{year}-{month:02d}-{day}" for year in (2020, 2023) for month, day in ((int(value), "15"), (int(value) % 12 + 1, "01")))
    elif of == "day" and value.isdigit() and 1 <= int(value) <= 28:
        yield from (f"2022-{month}-{int(value):02d}" for month in ("03", "09"))
    elif value.isdigit() and 1000 < int(value) < 3000:
        year = int(value)
        yield from (f"{year}-01-01", f"{year}-12-31", f"{year}-06-15", f"{year - 1}-12-31", f"{year + 1}-01-01", f"{year + 2}-03-03")
    elif found := re.match(r"(\d{4})-(\d\d)(?:-(\d\d))?", value):
        try:
            day = datetime.date(int(found[1]), int(found[2]), int(found[3] or 1))
            yield from ((day + datetime.timedelta(days=days)).isoformat() for days in (0, 1, -1, 400, -400, 31, -31))
        except (ValueError, OverflowError):
            return


def _around_time(value: str, of: str, operator: str) -> Iterator[str]:
    clock = value[11:19] if re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d.*", value) else ""
    for day in _around_day(value, of, operator):
        yield f"{day} {clock or '00:00:00'}"
        yield f"{day} 23:59:59"
    if clock:
        moment = datetime.datetime.fromisoformat(f"{value[:10]} {clock}")
        yield from (str(moment + datetime.timedelta(seconds=seconds)) for seconds in (1, -1))


def _around_array(value: str, of: str, operator: str) -> Iterator[str]:
    part = json.dumps(value, ensure_ascii=False)
    yield from (f"{{{part}}}", f"{{{part},{part}}}", value)


AROUND: dict[str, Callable[[str, str, str], Iterator[str]]] = {
    "number": _around_number,
    "text": _around_text,
    "date": _around_day,
    "time": _around_time,
    "array": _around_array,
}


def _arrays(column: Column, near: Sequence[str]) -> list[str]:
    """Arrays of one and two parts, each part first and last."""
    kind = column.type.lstrip("_")
    known = NUMBERS if kind in INTEGERS else WORDS if kind in TEXTS else ()
    parts = [json.dumps(part, ensure_ascii=False) for part in (*dict.fromkeys(near), *known[:3])]
    return ["{}", *(f"{{{part}}}" for part in parts), *(f"{{{first},{second}}}" for first, second in itertools.permutations(parts[:5], 2))]


def _fit(value: str, column: Column) -> str | None:
    """A value as the column's type takes it; None where it does not."""
    kind = family(column)
    if kind == "number":
        number = read_number(value)
        if number is None:
            return None
        if column.type in INTEGERS:
            return str(int(number)) if abs(number) <= INTEGERS[column.type] else None
        if column.type in FLOATS:
            return str(round(number * 4) / 4)  # sums of quarters are exact in any order
        if found := PRECISION.search(column.shown):
            size, scale = int(found[1]), int(found[2] or 0)
            number = round(number, scale)
            return f"{number:f}" if abs(number) < Decimal(10) ** (size - scale) else None
        return f"{number:f}"
    if kind == "text":
        return _cut(value, column)
    if kind == "enum":
        return value if value in column.labels else None
    if kind in ("array", "json"):
        return value if value.startswith("{") else None
    if kind == "boolean":
        return value if value in ("true", "false") else {"t": "true", "f": "false", "1": "true", "0": "false"}.get(value)
    return value


def _cut(value: str, column: Column) -> str:
    found = PRECISION.search(column.shown)
    size = int(found[1]) if found else 1 if column.type == "char" else 10_000
    return value[-size:] if value[-1:].isdigit() else value[:size]


def shuffled(values: Sequence[str], rng: random.Random) -> list[str]:
    """The values in another order."""
    return rng.sample(list(values), len(values))
