"""The syntax tree of a query as plain dictionaries, by PostgreSQL's own grammar. Nothing here runs a query."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

Tree = Mapping[str, Any]

LONGEST = 100_000  # characters: an answer is a query, not a dump
DEEPEST = 400  # levels of a tree: what walks it calls itself


class UnreadableError(Exception):
    """A text that the grammar refuses; the text says why."""


def read_statements(text: str) -> list[Tree]:
    """The trees of a text's statements. Raises UnreadableError."""
    from pglast.parser import ParseError, parse_sql_json

    if "\0" in text:
        raise UnreadableError("it holds a NUL")
    if len(text) > LONGEST:
        raise UnreadableError(f"it is longer than {LONGEST:,} characters")
    try:
        statements = json.loads(parse_sql_json(text)).get("stmts", [])
    except ParseError as error:
        raise UnreadableError(str(error.args[0])) from error
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error
    except ValueError as error:  # a surrogate, for one
        raise UnreadableError(str(error)) from error
    if _is_deep(statements):
        raise UnreadableError("it is nested too deeply")
    return [statement["stmt"] for statement in statements]


def read_query(text: str) -> Tree:
    """The SelectStmt of a text that is one query. Raises UnreadableError."""
    statements = read_statements(text)
    if not statements:
        raise UnreadableError("it holds no statement")
    if len(statements) > 1:
        raise UnreadableError(f"it holds {len(statements)} statements")
    ((kind, query),) = statements[0].items()
    if kind != "SelectStmt":
        raise UnreadableError(f"it is no query ({kind.removesuffix('Stmt')})")
    return dict(query)


def walk(tree: Any, closed: Collection[str] = ()) -> Iterator[tuple[str, Tree]]:
    """(kind, node) of every node, the outer ones first; what lies in a node of the kinds `closed` is left out."""
    if isinstance(tree, list):
        for part in tree:
            yield from walk(part, closed)
    elif isinstance(tree, dict):
        for name, part in tree.items():
            if isinstance(part, dict) and name[:1].isupper():
                yield name, part
            if name not in closed:
                yield from walk(part, closed)


def shallow(tree: Any) -> Iterator[tuple[str, Tree]]:
    """As `walk`, but not into sub-queries."""
    return walk(tree, ("SelectStmt", "SubLink"))


def strings(nodes: Any) -> tuple[str, ...]:
    """The names of a list of String nodes; '*' for a star."""
    return tuple(node["String"].get("sval", "") if "String" in node else "*" for node in nodes or ())


def constant(node: Any) -> str | None:
    """The text of a constant, of one with a minus or of one that is cast; None for anything else."""
    if not isinstance(node, dict):
        return None
    if "TypeCast" in node:
        return constant(node["TypeCast"].get("arg"))
    if "A_Expr" in node and strings(node["A_Expr"].get("name")) == ("-",) and "lexpr" not in node["A_Expr"]:
        inner = constant(node["A_Expr"].get("rexpr"))
        return None if inner is None else f"-{inner}"
    value = node.get("A_Const")
    if value is None or value.get("isnull"):
        return None
    for key, part in (("ival", "ival"), ("fval", "fval"), ("sval", "sval")):
        if key in value:
            return str(value[key].get(part, 0 if key == "ival" else ""))
    return str(value["boolval"].get("boolval", False)).lower() if "boolval" in value else None


def _is_deep(tree: Any) -> bool:
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            return True
        level = [part for node in level for part in (node.values() if isinstance(node, dict) else node) if isinstance(part, dict | list)]
    return False
