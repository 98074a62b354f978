"""Other forms of a query, by sqlglot: mutants, which ask something else, and rewrites, which ask the same."""

from collections.abc import Iterator

import sqlglot
from sqlglot import exp

OPPOSITES = {exp.GT: (exp.GTE, exp.LT), exp.GTE: (exp.GT,), exp.LT: (exp.LTE, exp.GT), exp.LTE: (exp.LT,), exp.EQ: (exp.NEQ,), exp.NEQ: (exp.EQ,)}
AGGREGATES = {exp.Min: (exp.Max, exp.Sum), exp.Max: (exp.Min, exp.Avg), exp.Sum: (exp.Avg, exp.Max), exp.Avg: (exp.Sum, exp.Min)}


def parse(sql: str) -> exp.Expression:
    return sqlglot.parse_one(sql.strip().rstrip(";"), dialect="postgres")


def text(tree: exp.Expression) -> str:
    return tree.sql(dialect="postgres")


def _each(tree, kind):
    """(a copy, the node in it) for each node of a kind."""
    for number in range(len(list(tree.find_all(kind)))):
        copy = tree.copy()
        yield copy, list(copy.find_all(kind))[number]


def _swap(copy, node, other) -> exp.Expression:
    if node is copy:
        return other
    node.replace(other)
    return copy


def mutants(sql: str, columns: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    """(what was changed, the query) of each mutant, none twice and none the query itself. `columns` are {table: {column: type}}."""
    tree, seen = parse(sql), set()
    seen.add(text(tree))
    for kind, mutant in _all_mutants(tree, columns):
        if (found := text(mutant)) not in seen:
            seen.add(found)
            yield kind, found


def _all_mutants(tree, columns):
    yield from _comparisons(tree)
    yield from _literals(tree)
    yield from _connectives(tree)
    yield from _joins(tree)
    yield from _aggregates(tree)
    yield from _tails(tree)
    yield from _columns(tree, columns)


def _comparisons(tree):
    for old, others in OPPOSITES.items():
        for copy, node in _each(tree, old):
            if isinstance(node.parent, exp.Join) or type(node) is not old:
                continue
            for other in others:
                again = copy.copy()
                twin = list(again.find_all(old))[list(copy.find_all(old)).index(node)]
                yield "comparison", _swap(again, twin, other(this=twin.this.copy(), expression=twin.expression.copy()))
    for copy, node in _each(tree, exp.Like):
        yield "comparison", _swap(copy, node, exp.EQ(this=node.this.copy(), expression=node.expression.copy()))
    for copy, node in _each(tree, exp.In):
        if isinstance(node.parent, exp.Not):
            yield "sub-query", _swap(copy, node.parent, node.copy())
        else:
            yield "sub-query" if node.args.get("query") else "comparison", _swap(copy, node, exp.not_(node.copy()))
    for copy, node in _each(tree, exp.Is):
        yield "null", _swap(copy, node, exp.not_(node.copy()) if not isinstance(node.parent, exp.Not) else node.copy())
    for copy, node in _each(tree, exp.Is):
        yield "null", _swap(copy, node, exp.EQ(this=node.this.copy(), expression=exp.null()))
    for copy, node in _each(tree, exp.Between):
        yield "comparison", _swap(copy, node, exp.GTE(this=node.this.copy(), expression=node.args["low"].copy()))
    for copy, node in _each(tree, exp.Between):
        low = exp.GT(this=node.this.copy(), expression=node.args["low"].copy())
        yield "comparison", _swap(copy, node, exp.and_(low, exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())))


def _literals(tree):
    for copy, node in _each(tree, exp.Literal):
        if isinstance(node.parent, exp.Limit):
            kind, values = "limit", (int(node.this) + 1, max(int(node.this) - 1, 1))
            for value in values:
                node.set("this", str(value))
                yield kind, copy.copy()
        elif not node.is_string:
            for value in (int(node.this) + 1, int(node.this) - 1):
                node.set("this", str(value))
                yield "literal", copy.copy()
        elif node.this[:4].isdigit() and node.this.count("-") == 2:
            for value in (str(int(node.this[:4]) + 1) + node.this[4:], node.this[:8] + ("30" if node.this.endswith("31") else "02")):
                node.set("this", value)
                yield "date", copy.copy()
        else:
            node.set("this", node.this + "x" if "%" not in node.this else "%" + node.this)
            yield "literal", copy


def _connectives(tree):
    for copy, node in _each(tree, exp.And):
        yield "and", _swap(copy, node, exp.Or(this=node.this.copy(), expression=node.expression.copy()))
    for copy, node in _each(tree, exp.And):
        yield "and", _swap(copy, node, node.this.copy())
    for copy, node in _each(tree, exp.And):
        yield "and", _swap(copy, node, node.expression.copy())
    for copy, node in _each(tree, exp.Or):
        yield "or", _swap(copy, node, exp.And(this=node.this.copy(), expression=node.expression.copy()))
    for copy, node in _each(tree, exp.Where):
        node.pop()
        yield "where", copy
    for copy, node in _each(tree, exp.Having):
        node.pop()
        yield "having", copy


def _joins(tree):
    for side in ("LEFT", "RIGHT", "FULL"):
        for copy, node in _each(tree, exp.Join):
            if node.args.get("on") and not node.args.get("side"):
                node.set("side", side)
                yield "join", copy
    for copy, node in _each(tree, exp.Join):
        if on := node.args.get("on"):
            on.replace(exp.true())
            yield "join", copy


def _aggregates(tree):
    for old, others in AGGREGATES.items():
        for other in others:
            for copy, node in _each(tree, old):
                yield "aggregate", _swap(copy, node, other(this=node.this.copy()))
    for copy, node in _each(tree, exp.Count):
        yield "aggregate", _count_distinct(copy, node)


def _count_distinct(copy, node):
    grouped = copy.find(exp.Group)
    column = grouped.expressions[0].copy() if grouped else exp.column("id", table=copy.find(exp.Table).name)
    node.set("this", exp.Distinct(expressions=[column]))
    return copy


def _tails(tree):
    for copy, node in _each(tree, exp.Ordered):
        node.set("desc", not node.args.get("desc"))
        node.set("nulls_first", None)
        yield "order", copy
    for copy, node in _each(tree, exp.Order):
        node.pop()
        yield "order", copy
    for copy, node in _each(tree, exp.Limit):
        node.pop()
        yield "limit", copy
    for copy, node in _each(tree, exp.Select):
        distinct = node.args.get("distinct")
        node.set("distinct", None if distinct else exp.Distinct())
        yield "distinct", copy


def _columns(tree, columns):
    """Each column in the place of which another of its table and type stands."""
    for copy, node in _each(tree, exp.Column):
        used = [table.name for table in tree.find_all(exp.Table)]
        table = node.table or next((name for name in used if node.name in columns[name]), used[0])
        kind = columns[table][node.name]
        others = [name for name, other in columns[table].items() if other == kind and name != node.name]
        if others and not copy.find(exp.Group):
            node.set("this", exp.to_identifier(others[0]))
            yield "column", copy


def is_equivalent(kind: str, expected: str, mutant: str) -> bool:
    """Whether a mutant of a sample row asks the same after all, by rules that look at both texts and run nothing.

    An aggregate over all rows gives one row; groups differ in the columns that they are made of; IN takes no notice of how often a value occurs; a
    comparison refuses the NULLs with which an outer join fills up; sum takes no notice of them; a primary key is in no two rows.
    """
    before, after = parse(expected), parse(mutant)
    if kind == "distinct":
        pairs = zip(before.find_all(exp.Select), after.find_all(exp.Select), strict=True)
        select = next((new for old, new in pairs if new.args.get("distinct") and not old.args.get("distinct")), None)
        if select is None:
            return False
        if select.find_ancestor(exp.In) or (select.find_ancestor(exp.GT) and select.find(exp.AggFunc)):
            return True
        group = select.args.get("group")
        if group:
            return all(one in select.expressions for one in group.expressions)
        return not before.args.get("distinct") and isinstance(select.expressions[0], exp.AggFunc)
    if kind == "join" and (join := after.find(exp.Join)).args.get("side"):
        left, right, side = before.args["from_"].this.name, join.this.name, join.args["side"]
        asked = {column.table for column in before.args["where"].find_all(exp.Column)}
        total = before.expressions[0]
        summed = isinstance(total, exp.Sum) and total.this.table == right
        left_kept = asked == {right} or summed  # rows of the left table that nothing is joined to change nothing
        right_kept = asked == {left}
        return {"LEFT": left_kept, "RIGHT": right_kept, "FULL": left_kept and right_kept}[side]
    if kind == "aggregate" and "DISTINCT" in mutant and not before.find(exp.Join):
        return not before.args.get("group") and mutant.count(".id)") == 1
    return False
