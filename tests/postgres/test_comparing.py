"""When two results are the same."""

import pytest

from preflight.postgres.comparing import Expected, canonical, compare
from preflight.postgres.running import Result

INT, TEXT, NUMERIC, FLOAT8, FLOAT4, BOOL, DATE, TIMESTAMP, TIMESTAMPTZ, BPCHAR = 23, 25, 1700, 701, 700, 16, 1082, 1114, 1184, 1042


def result(*rows, types=None):
    width = len(types or (rows[0] if rows else ()))
    return Result(names=tuple("abcdefgh"[:width]), types=types or (TEXT,) * width, rows=tuple(rows))


def expected(*rows, types=None):
    found = result(*rows, types=types)
    return Expected(result=found, groups=((len(found.rows), found.rows),), ordered=False)


def ordered(*groups, limit=None):
    rows = tuple(row for group in groups for row in group)
    left, parts = len(rows) if limit is None else limit, []
    for group in groups:
        parts.append((min(left, len(group)), tuple(group)))
        left -= parts[-1][0]
    return Expected(result=result(*rows), groups=tuple(part for part in parts if part[0]), ordered=True)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (expected(("a",), ("b",)), result(("b",), ("a",)), ""),
        (expected(("a",), ("a",)), result(("a",)), "other rows"),
        (expected(("a",), ("a",), ("b",)), result(("a",), ("b",), ("b",)), "other rows"),
        (expected(("a", "b")), result(("b", "a")), ""),
        (expected(("a", "b"), ("b", "a")), result(("a", "a"), ("b", "b")), "other rows"),
        (expected(types=(TEXT,)), result(types=(TEXT,)), ""),
        (expected(types=(TEXT,)), result(types=(TEXT, TEXT)), "other columns"),
        (expected((None,)), result(("",)), "other rows"),
        (expected((None,)), result((None,)), ""),
        (ordered([("a",)], [("b",)]), result(("b",), ("a",)), "other order"),
        (ordered([("a",), ("b",)], [("c",)]), result(("b",), ("a",), ("c",)), ""),
        (ordered([("a",), ("b",)], [("c",)]), result(("a",), ("c",), ("b",)), "other order"),
        (ordered([("a",)], [("b",), ("c",), ("d",)], limit=2), result(("a",), ("d",)), ""),
        (ordered([("a",)], [("b",), ("c",), ("d",)], limit=2), result(("b",), ("d",)), "other order"),
        (ordered([("a",)], [("b",), ("c",), ("d",)], limit=2), result(("a",), ("e",)), "other rows"),
        (ordered([("a",), ("a",), ("b",)], limit=2), result(("b",), ("b",)), "other rows"),
    ],
)
def test_rows_columns_and_order(one, other, difference):
    assert compare(one, other)[0] == difference


@pytest.mark.parametrize(
    ("one", "kind", "other", "other_kind", "same"),
    [
        ("1.50", NUMERIC, "1.5", NUMERIC, True),
        ("1", INT, "1.00", NUMERIC, True),
        ("0", INT, "-0.0", FLOAT8, True),
        ("3.3333333333333333", NUMERIC, "3.33333333333333333333", NUMERIC, True),
        ("3.3333333333333333", NUMERIC, "3.3333333333333335", FLOAT8, True),
        ("3.33", NUMERIC, "3.3333333333333333", NUMERIC, False),
        ("0.30000000000000004", FLOAT8, "0.3", FLOAT8, True),
        ("0.30000001", FLOAT8, "0.3", FLOAT8, False),
        ("0.3000001", FLOAT4, "0.3", FLOAT4, True),
        ("0.3001", FLOAT4, "0.3", FLOAT4, False),
        ("12345678901234567", NUMERIC, "12345678901234568", NUMERIC, False),
        ("9007199254740993", 20, "9007199254740992", 20, False),
        ("NaN", FLOAT8, "NaN", NUMERIC, True),
        ("t", BOOL, "t", BOOL, True),
        ("t", BOOL, "f", BOOL, False),
        ("ab  ", BPCHAR, "ab", TEXT, True),
        ("ab  ", TEXT, "ab", TEXT, False),
        ("2024-05-01", DATE, "2024-05-01 00:00:00", TIMESTAMP, True),
        ("2024-05-01", DATE, "2024-05-01 00:00:01", TIMESTAMP, False),
        ("2024-05-01 10:00:00+00", TIMESTAMPTZ, "2024-05-01 10:00:00", TIMESTAMP, True),
        ("A", TEXT, "a", TEXT, False),
    ],
)
def test_values(one, kind, other, other_kind, same):
    assert (canonical(one, kind, other_kind) == canonical(other, kind, other_kind)) is same
    assert (canonical(other, other_kind, kind) == canonical(one, other_kind, kind)) is same


def test_an_order_of_columns_holds_for_all_databases():
    difference, orders = compare(expected(("a", "a")), result(("a", "a")))
    assert (difference, set(orders)) == ("", {(0, 1), (1, 0)})
    difference, orders = compare(expected(("a", "b")), result(("b", "a")), orders)
    assert (difference, orders) == ("", ((1, 0),))
    assert compare(expected(("c", "d")), result(("c", "d")), orders)[0] == "other rows"


def test_many_columns_that_look_alike_end():
    wide = tuple("x" for _ in range(60))
    assert compare(expected(wide), result(wide))[0] == ""
    mixed = tuple(str(i % 7) for i in range(60))
    assert compare(expected(mixed), result(mixed[::-1]))[0] in ("", "other rows")
