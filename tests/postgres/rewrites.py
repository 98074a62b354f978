"""Rewrites of a query that ask the same, by sqlglot and, where the shape of sample rows is known, by pattern."""

import re
from collections.abc import Iterator

from sqlglot import exp

from tests.postgres.variants import _each, _swap, parse, text

JOINED = re.compile(r"(SELECT) (DISTINCT )?(\w+)\.(\w+) FROM (\w+) JOIN (\w+) ON (\w+)\.(\w+) = (\w+)\.id WHERE (\w+)\.(\w+ = '[^']*');?")


def rewrites(sql: str) -> Iterator[tuple[str, str]]:
    """(its kind, the query) of each rewrite that the query's shape allows."""
    tree = parse(sql)
    ordered = tree.find(exp.Order) is not None
    for kind, found in (*_terms(tree), *_shapes(tree, sql)):
        yield kind, found if isinstance(found, str) else text(found)
    yield "parentheses", f"(({sql.rstrip(';')}));"
    yield "blanks and letters", re.sub(r"\b(SELECT|FROM|WHERE|AND|GROUP BY|ORDER BY)\b", lambda found: f"\n{found[0].lower()}  ", sql)
    if not ordered:
        yield "common table expression", f"WITH answer AS ({sql.rstrip(';')}) SELECT * FROM answer"
        yield "sub-query in FROM", f"SELECT * FROM ({sql.rstrip(';')}) AS answer"
    if len(tree.expressions) > 1:
        copy = tree.copy()
        copy.set("expressions", list(reversed(copy.expressions)))
        yield "column order", text(copy)


def _terms(tree):
    """One term in other words."""
    for copy, node in _each(tree, exp.And):
        yield "commuted AND", _swap(copy, node, exp.And(this=node.expression.copy(), expression=node.this.copy()))
    for copy, node in _each(tree, exp.In):
        if node.expressions:
            parts = [exp.EQ(this=node.this.copy(), expression=value.copy()) for value in node.expressions]
            yield "IN as OR", _swap(copy, node, exp.paren(exp.or_(*parts)))
    for copy, node in _each(tree, exp.Between):
        low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
        yield (
            "BETWEEN as comparisons",
            _swap(copy, node, exp.paren(exp.and_(low, exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())))),
        )
    for copy, node in _each(tree, exp.Count):
        if isinstance(node.this, exp.Star):
            node.set("this", exp.Literal.number(1))
            yield "COUNT(1)", copy
    for copy, node in _each(tree, exp.NEQ):
        yield "NOT =", _swap(copy, node, exp.Not(this=exp.paren(exp.EQ(this=node.this.copy(), expression=node.expression.copy()))))
    for kind, other in ((exp.GT, exp.LT), (exp.LT, exp.GT)):
        for copy, node in _each(tree, kind):
            yield "turned comparison", _swap(copy, node, other(this=node.expression.copy(), expression=node.this.copy()))
    for copy, node in _each(tree, exp.EQ):
        if isinstance(node.expression, exp.Literal) and not isinstance(node.this, exp.Extract):
            yield "= as IN", _swap(copy, node, exp.In(this=node.this.copy(), expressions=[node.expression.copy()]))
    for copy, node in _each(tree, exp.EQ):
        if isinstance(node.this, exp.Extract):
            year, column = int(node.expression.this), text(node.this.expression)
            yield "year as dates", text(copy).replace(text(node), f"({column} >= '{year}-01-01' AND {column} < DATE '{year + 1}-01-01')")


def _shapes(tree, sql):
    """The whole query in another shape."""
    yield "aliases", _aliased(tree)
    select = tree if isinstance(tree, exp.Select) else None
    if select and select.args.get("distinct") and not select.args.get("group"):
        copy = select.copy()
        copy.set("distinct", None)
        yield "DISTINCT as GROUP BY", copy.group_by(*[one.copy() for one in copy.expressions])
    if found := JOINED.fullmatch(sql):
        _, distinct, shown, column, parent, child, _, key, _, asked, condition = found.groups()
        if shown == child and asked == parent and not distinct:
            yield "JOIN as IN", f"SELECT {column} FROM {child} WHERE {key} IN (SELECT id FROM {parent} WHERE {condition})"
        if shown == parent and asked == child and distinct:
            yield "JOIN as IN", f"SELECT DISTINCT {column} FROM {parent} WHERE id IN (SELECT {key} FROM {child} WHERE {condition})"
            yield (
                "JOIN as EXISTS",
                (f"SELECT DISTINCT {column} FROM {parent} p WHERE EXISTS (SELECT 1 FROM {child} WHERE {key} = p.id AND {child}.{condition})"),
            )
    for copy, node in _each(tree, exp.Avg):
        if not tree.find(exp.Subquery):
            yield "avg as sum / count", text(copy).replace(text(node), f"sum({text(node.this)})::numeric / nullif(count({text(node.this)}), 0)")
    for copy, node in _each(tree, exp.Ordered):
        node.set("nulls_first", bool(node.args.get("desc")))
        yield "NULLS said", copy


def _aliased(tree):
    """Each table under another name. A name stands for the same table everywhere in sample rows."""
    copy = tree.copy()
    names = {}
    for table in copy.find_all(exp.Table):
        if not table.alias:
            names[table.name] = f"t{len(names) + 1}"
            table.set("alias", exp.TableAlias(this=exp.to_identifier(names[table.name])))
    for column in copy.find_all(exp.Column):
        if column.table in names:
            column.set("table", exp.to_identifier(names[column.table]))
    return copy
