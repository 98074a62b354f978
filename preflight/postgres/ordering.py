"""In which order the rows of an expected answer belong, and which of them tie."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preflight.postgres.comparing import Expected
from preflight.postgres.running import Result, run_query
from preflight.postgres.trees import Tree, walk

if TYPE_CHECKING:
    from psycopg import Connection

# what gives another result for rows that lie in another order, or at another time
AGGREGATES = ("array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "xmlagg")
WINDOWS = ("row_number", "first_value", "last_value", "nth_value", "lag", "lead", "ntile")
CLOCKS = ("random", "now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday", "gen_random_uuid", "uuidv4", "uuidv7")
UNSTABLE = {*AGGREGATES, *WINDOWS, *CLOCKS}


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """An expected answer without its LIMIT, with its sort keys as further columns: `keys` are the places of the keys, from the end if negative."""

    query: str
    keys: tuple[int | str, ...]  # a name is that of an output column
    ordered: bool
    limited: bool
    offset: int


def read_ranking(text: str, query: Tree) -> Ranking:
    """How the rows of a query are ranked. Call it only with a text that `read_query` has read: pglast's other parser crashes on some."""
    sorts, limited = query.get("sortClause", []), "limitCount" in query or "limitOffset" in query
    plain = Ranking(query=text, keys=(), ordered=bool(sorts), limited=limited, offset=0)
    if not sorts and not limited:
        return plain
    from pglast import ast, parse_sql
    from pglast.stream import RawStream

    try:
        (statement,) = parse_sql(text)
        tree: Any = copy.copy(statement.stmt)
        offset = tree.limitOffset
        value = getattr(getattr(offset, "val", None), "ival", None) if offset is not None else 0
        if value is None:
            return plain
        tree.limitCount = tree.limitOffset = None
        tree.limitOption = 0
        keys: list[int | str] = []
        added: list[Any] = []
        names = [target.name for target in tree.targetList or ()]
        for sort in tree.sortClause or ():
            node: Any = sort.node
            if isinstance(node, ast.A_Const) and isinstance(node.val, ast.Integer):
                keys.append(int(node.val.ival or 0) - 1)
            elif isinstance(node, ast.ColumnRef) and _name(node) and (_name(node) in names or tree.op or tree.distinctClause):
                keys.append(_name(node))
            elif tree.op or tree.distinctClause:
                place = next((i for i, target in enumerate(tree.targetList or ()) if RawStream()(target.val) == RawStream()(node)), None)
                if place is None:
                    return plain
                keys.append(place)
            else:
                added.append(ast.ResTarget(val=node))
                keys.append("")
        if added:
            tree.targetList = (*tree.targetList, *added)
        numbers = iter(range(-len(added), 0))
        return Ranking(
            query=RawStream()(tree),
            keys=tuple(next(numbers) if key == "" else key for key in keys),
            ordered=bool(sorts),
            limited=limited,
            offset=int(value),
        )
    except (AttributeError, TypeError, ValueError, NotImplementedError, RecursionError):
        return plain


def _name(node: Any) -> str:
    """The name of a column that stands by itself; '' of one with its table's."""
    return str(node.fields[0].sval) if len(node.fields) == 1 else ""


def run_expected(connection: "Connection[tuple[object, ...]]", text: str, ranking: Ranking) -> Expected:
    """What an answer has to give on the database as it is. Raises what `run_query` does."""
    result = run_query(connection, text)
    if not ranking.ordered and not ranking.limited:
        return Expected(result=result, groups=((len(result.rows), result.rows),), ordered=False)
    if ranking.query == text:  # it can't be ranked: the rows as they came
        return Expected(result=result, groups=tuple((1, (row,)) for row in result.rows), ordered=ranking.ordered)
    whole = run_query(connection, ranking.query)
    width = len(result.names)
    keys = [result.names.index(key) if isinstance(key, str) else key for key in ranking.keys if not isinstance(key, str) or key in result.names]
    groups = _ties(whole, keys, width)
    return Expected(result=result, groups=tuple(_cut(groups, ranking.offset, len(result.rows))), ordered=ranking.ordered)


def _ties(whole: Result, keys: Sequence[int], width: int) -> list[list[tuple[str | None, ...]]]:
    groups: list[list[tuple[str | None, ...]]] = []
    last: object = None
    for row in whole.rows:
        key = tuple(row[place] for place in keys)
        if not groups or key != last:
            groups.append([])
        groups[-1].append(row[:width])
        last = key
    return groups


def _cut(groups: Sequence[Sequence[tuple[str | None, ...]]], offset: int, size: int) -> list[tuple[int, tuple[tuple[str | None, ...], ...]]]:
    """The groups that rows `offset` to `offset + size` lie in, and how many of each."""
    kept, start = [], 0
    for group in groups:
        count = min(start + len(group), offset + size) - max(start, offset)
        if count > 0:
            kept.append((count, tuple(group)))
        start += len(group)
    return kept


def may_vary(query: Tree) -> bool:
    """Whether a query may give other rows where the same rows lie in another order: cut off inside, or aggregated in an order."""
    for kind, node in walk(query):
        if kind == "SelectStmt" and ("limitCount" in node or "distinctClause" in node):
            return True
        if kind == "SQLValueFunction" or (kind == "FuncCall" and str(node["funcname"][-1]["String"].get("sval")) in UNSTABLE):
            return True
    return False
