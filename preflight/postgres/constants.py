"""The constants that a query compares something with."""

import datetime
import re
from typing import Any

from preflight.postgres.trees import constant, shallow, strings

PART = re.compile(r"([+-]?\d+)\s*(day|week|month|year|hour|minute)", re.IGNORECASE)
DAYS = {"day": 1.0, "week": 7.0, "month": 30.0, "year": 365.0, "hour": 1 / 24, "minute": 1 / 1440}


def constants_of(node: Any) -> tuple[str, ...] | None:
    """The constants of one side of a comparison; None where it is something else."""
    if not isinstance(node, dict):
        return None
    if (value := constant(node)) is not None:
        return (value,)
    ((kind, body),) = node.items()
    parts = body.get("items") if kind == "List" else body.get("elements") if kind == "A_ArrayExpr" else None
    if parts is not None:
        values = [constant(part) for part in parts]
        return tuple(value for value in values if value is not None) or None
    if kind == "TypeCast":
        return constants_of(body.get("arg"))
    return _days_from_now(node)


def _days_from_now(node: Any) -> tuple[str, ...] | None:
    """`current_date - interval '30 days'` as the day that it is today."""
    if not any(kind == "SQLValueFunction" or (kind == "FuncCall" and strings(part["funcname"])[-1] == "now") for kind, part in shallow(node)):
        return None
    if any(kind == "ColumnRef" for kind, _ in shallow(node)):
        return None
    days = 0.0
    for kind, part in shallow(node):
        if kind == "A_Const" and "sval" in part:
            days += sum(int(count) * DAYS[unit.lower()] for count, unit in PART.findall(part["sval"].get("sval", "")))
        elif kind == "A_Const" and "ival" in part:
            days += int(part["ival"].get("ival", 0))
    sign = -1 if any(kind == "A_Expr" and strings(part["name"]) == ("-",) for kind, part in shallow(node)) else 1
    today = datetime.datetime.now(datetime.UTC).date()
    return ((today + datetime.timedelta(days=sign * min(days, 200_000))).isoformat(),)
