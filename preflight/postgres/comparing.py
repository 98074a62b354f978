"""Whether two results are the same: rows as often as they occur, columns in any order, rows in an order only where the query asks for one."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import Literal

from preflight.postgres.running import Result

Difference = Literal["", "other columns", "other rows", "other order"]
Value = tuple[str, object]
Order = tuple[int, ...]  # which of the given answer's columns stands in the place of each expected one

BOOLEAN, FLOAT4, FLOAT8, TIMESTAMP, TIMESTAMPTZ, BPCHAR = 16, 700, 701, 1114, 1184, 1042
INTEGERS = {20, 21, 23, 26}
NUMBERS = {*INTEGERS, FLOAT4, FLOAT8, 1700}
# significant digits: a sum of floats depends on the order of its rows, a quotient of numerics on how it is written
DIGITS = {FLOAT4: 5, FLOAT8: 9, 1700: 12}
MOST_ORDERS = 720
MIDNIGHT = re.compile(r"^(\d+-\d\d-\d\d) 00:00:00(?:\+00)?$")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What an answer has to give on one database: rows in groups, each in any order, of which an answer may hold only a part where it is cut off.

    `groups` are (how many rows of it belong to the answer, its rows).
    """

    result: Result
    groups: tuple[tuple[int, tuple[tuple[str | None, ...], ...]], ...]
    ordered: bool


def compare(expected: Expected, given: Result, orders: Sequence[Order] | None = None) -> tuple[Difference, tuple[Order, ...]]:
    """(what is different, the orders of the columns in which nothing is). `orders` are those that other databases left over; None is any."""
    theirs, ours = given.types, expected.result.types
    if len(theirs) != len(ours):
        return "other columns", ()
    size = sum(count for count, _ in expected.groups)
    if orders is None:
        orders = tuple(_orders(expected, given))
    if len(given.rows) != size:
        return "other rows", ()
    kept, rows_alone = [], False
    for order in orders:
        kinds = [(ours[i], theirs[j]) for i, j in enumerate(order)]
        rows = [tuple(canonical(row[j], *kinds[i]) for i, j in enumerate(order)) for row in given.rows]
        groups = [
            (count, [tuple(canonical(value, *kind) for value, kind in zip(row, kinds, strict=True)) for row in part])
            for count, part in expected.groups
        ]
        if _fits(rows, groups):
            kept.append(order)
        elif not rows_alone and expected.ordered:
            everything = [row for _, part in groups for row in part]
            rows_alone = not Counter(rows) - Counter(everything) if len(everything) >= size else False
    if kept:
        return "", tuple(kept)
    return ("other order" if rows_alone else "other rows"), ()


def _fits(rows: Sequence[tuple[Value, ...]], groups: Sequence[tuple[int, list[tuple[Value, ...]]]]) -> bool:
    start = 0
    for count, part in groups:
        if Counter(rows[start : start + count]) - Counter(part):
            return False
        start += count
    return start == len(rows)


def _orders(expected: Expected, given: Result) -> Iterator[Order]:
    """The orders of columns that could do, by the values of each column alone; the one as it stands first."""
    width = len(expected.result.types)
    everything = [row for _, part in expected.groups for row in part]

    def could(i: int, j: int) -> bool:
        kind = expected.result.types[i], given.types[j]
        theirs = Counter(canonical(row[j], *kind) for row in given.rows)
        return not theirs - Counter(canonical(row[i], *kind) for row in everything)

    may = [[j for j in range(width) if could(i, j)] for i in range(width)]
    identity = tuple(range(width))
    yield identity

    def extend(order: Order) -> Iterator[Order]:
        if len(order) == width:
            yield order
            return
        for j in may[len(order)]:
            if j not in order:
                yield from extend((*order, j))

    for number, order in enumerate(extend(())):
        if number >= MOST_ORDERS:
            return
        if order != identity:
            yield order


def canonical(value: str | None, ours: int, theirs: int) -> Value:
    """A value so that equal ones are equal: 1.50 and 1.5, a day and its midnight; floats to the digits that they keep."""
    if value is None:
        return "null", None
    if ours in NUMBERS and theirs in NUMBERS:
        return "number", _number(value, min((DIGITS[kind] for kind in (ours, theirs) if kind in DIGITS), default=0))
    if ours == theirs == BOOLEAN:
        return "boolean", value
    if BPCHAR in (ours, theirs):
        return "text", value.rstrip(" ")
    if found := MIDNIGHT.match(value):
        return "text", found[1]
    return "text", value.removesuffix("+00") if TIMESTAMPTZ in (ours, theirs) else value


def _number(text: str, digits: int) -> object:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite():
        return str(number)
    if digits == 0 or (digits > 9 and number == number.to_integral_value()):
        return number
    return Context(prec=digits).plus(number) if number else Decimal(0)
