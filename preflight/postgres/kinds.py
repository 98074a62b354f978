"""What a question asks for, read off the answer that is expected: joined tables, groups, queries in queries, dates."""

import re
from collections.abc import Mapping
from typing import Any

from preflight.postgres.trees import UnreadableError, constant, read_query, strings, walk

KINDS = ("join", "group", "nested", "date", "plain")  # as they are shown; an answer can be of several
DAY = re.compile(r"\d{4}-\d\d-\d\d|\d{4}-\d\d")
TYPES = frozenset(("date", "timestamp", "timestamptz", "time", "timetz", "interval"))
FUNCTIONS = frozenset(["now", "date_trunc", "date_part", "extract", "age", "to_date", "to_timestamp", "make_date", "make_interval"])


def kinds_of(answer: str) -> tuple[str, ...]:
    """The kinds of an answer, in the order of KINDS; none of one that is no query."""
    try:
        query = read_query(answer)
    except UnreadableError:
        return ()
    found = {kind for name, node in [("SelectStmt", query), *walk(query)] for kind in _kinds(name, node)}
    return tuple(kind for kind in KINDS if kind in found) or ("plain",)


def _kinds(name: str, node: Mapping[str, Any]) -> list[str]:
    if name == "SelectStmt":
        arms = [kind for arm in ("larg", "rarg") if arm in node for kind in _kinds(name, node[arm])]  # of a UNION
        return ["join"] * (len(node.get("fromClause") or ()) > 1) + ["group"] * bool(node.get("groupClause")) + arms
    if name in ("SubLink", "RangeSubselect", "CommonTableExpr"):
        return ["nested"]
    if name == "JoinExpr":
        return ["join"]
    dated = (
        name == "SQLValueFunction"
        or (name == "TypeCast" and bool(set(strings(node.get("typeName", {}).get("names"))) & TYPES))
        or (name == "FuncCall" and bool(set(strings(node.get("funcname"))) & FUNCTIONS))
        or (name == "A_Const" and bool(DAY.match(constant({"A_Const": node}) or "")))
    )
    return ["date"] * dated
