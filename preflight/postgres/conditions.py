"""What a query asks of each column: the constants it is compared with, the columns it is joined to, where rows are counted or cut off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from preflight.postgres.catalog import Table
from preflight.postgres.constants import constants_of
from preflight.postgres.scopes import Key, Scope, names_of
from preflight.postgres.trees import Tree, constant, shallow, strings, walk

OPERATORS = {"=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*"}
FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
NEGATED = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "~~": "!~~", "!~~": "~~", "~~*": "!~~*", "!~~*": "~~*"}
MOST_COUNTED = 15  # a literal that rows are counted against: more rows than that in a group are not made
CLAUSES = ("whereClause", "havingClause")


@dataclass(frozen=True, kw_only=True)
class Atom:
    """One comparison of a column with constants; `of` is what of the column is compared: year, lower, or '' for itself."""

    key: Key
    operator: str  # of OPERATORS; in, not in, null, not null
    values: tuple[str, ...] = ()
    of: str = ""


@dataclass(kw_only=True)
class Conditions:
    """Filled while the tree is walked, and only read after that."""

    atoms: list[Atom] = field(default_factory=list)
    near: dict[Key, list[str]] = field(default_factory=dict)  # constants that something made of the column is compared with
    joined: list[tuple[Key, Key]] = field(default_factory=list)
    grouped: set[Key] = field(default_factory=set)
    used: set[Key] = field(default_factory=set)
    counts: list[int] = field(default_factory=list)  # that groups are compared with
    derived: dict[str, list[Tree]] = field(default_factory=dict)  # what the query names itself: the expressions behind each name
    limit: int = 0


def read_conditions(query: Tree, tables: Sequence[Table]) -> Conditions:
    """What a query asks of the tables."""
    found = Conditions()
    for kind, node in walk(query):
        if kind == "ResTarget" and "name" in node and "ColumnRef" not in node.get("val", {}):
            found.derived.setdefault(str(node["name"]), []).append(node)
    _read_select(query, None, tables, found)
    found.atoms = list(dict.fromkeys(found.atoms))
    return found


def _read_select(query: Tree, outer: Scope | None, tables: Sequence[Table], found: Conditions) -> None:
    scope = Scope(names=dict(names_of(query.get("fromClause", ()), tables)), outer=outer)
    for clause in CLAUSES:
        _read_condition(query.get(clause), scope, tables, found, negated=False, counting=clause == "havingClause")
    for part in query.get("groupClause", ()):
        for kind, node in walk(_by_position(part, query)):
            if kind == "ColumnRef" and (key := scope.find(strings(node["fields"]), tables)):
                found.grouped.add(key)
    count = constant(query.get("limitCount"))
    offset = constant(query.get("limitOffset")) or "0"
    if count and count.isdigit() and offset.isdigit():
        found.limit = max(found.limit, min(int(count) + int(offset), 30))
    for name, part in query.items():
        if name in ("larg", "rarg"):
            _read_select(part, outer, tables, found)
        elif name == "fromClause":
            _read_joins(part, scope, tables, found)
        elif name not in CLAUSES:
            _read_inner(part, scope, tables, found)


def _by_position(node: Any, query: Tree) -> Any:
    """What is grouped by, where `GROUP BY 2` says it by its place."""
    place = constant(node)
    targets = query.get("targetList", ())
    return targets[int(place) - 1] if place and place.isdigit() and 0 < int(place) <= len(targets) else node


def _read_joins(clause: Any, scope: Scope, tables: Sequence[Table], found: Conditions) -> None:
    for kind, node in shallow(clause):
        if kind == "JoinExpr":
            _read_condition(node.get("quals"), scope, tables, found, negated=False)
            sides = [[table for _, table in names_of([node[side]], tables)] for side in ("larg", "rarg")]
            shared = strings(node.get("usingClause"))
            if node.get("isNatural"):
                shared = tuple(column.name for table in sides[0] for column in table.columns)
            for name in shared:
                keys = [(table.name, name) for side in sides for table in side if table.column(name)]
                found.joined += [(keys[0], key) for key in keys[1:]]
        elif kind == "SelectStmt":
            _read_select(node, scope, tables, found)


def add_constants(found: Conditions, other: Conditions) -> None:
    """Take over what another query compares columns with, as values that a column may hold."""
    for atom in other.atoms:
        found.near.setdefault(atom.key, []).extend(atom.values)
    for key, values in other.near.items():
        found.near.setdefault(key, []).extend(values)
    found.counts += other.counts
    found.limit = max(found.limit, other.limit)


def _read_inner(tree: Any, scope: Scope, tables: Sequence[Table], found: Conditions) -> None:
    """The columns of an expression that is no condition, and the conditions of what it holds: sub-queries, CASE, FILTER."""
    for kind, node in shallow(tree):
        if kind == "SelectStmt":
            _read_select(node, scope, tables, found)
        elif kind == "SubLink":
            _read_select(node["subselect"]["SelectStmt"], scope, tables, found)
            _read_inner(node.get("testexpr"), scope, tables, found)
        elif kind == "ColumnRef":
            if key := scope.find(strings(node["fields"]), tables):
                found.used.add(key)
        elif kind in ("A_Expr", "NullTest"):
            _read_comparison(kind, node, scope, tables, found, negated=False, counting=False)


def _read_condition(node: Any, scope: Scope, tables: Sequence[Table], found: Conditions, *, negated: bool, counting: bool = False) -> None:
    if not isinstance(node, dict):
        return
    ((kind, body),) = node.items()
    if kind == "BoolExpr":
        inside = negated != (body["boolop"] == "NOT_EXPR")
        for part in body["args"]:
            _read_condition(part, scope, tables, found, negated=inside, counting=counting)
        return
    if kind == "ColumnRef":  # a boolean by itself
        if key := scope.find(strings(body["fields"]), tables):
            found.atoms.append(Atom(key=key, operator="=", values=("false" if negated else "true",)))
    elif kind in ("A_Expr", "NullTest"):
        _read_comparison(kind, body, scope, tables, found, negated=negated, counting=counting)
    elif kind == "SubLink" and body.get("testexpr"):
        _read_membership(body, scope, tables, found)
    within = [part for part in body.values() if isinstance(part, dict | list)]  # the node itself was read
    _read_inner(node if kind in ("SubLink", "ColumnRef") else within, scope, tables, found)


def _read_membership(link: Tree, scope: Scope, tables: Sequence[Table], found: Conditions) -> None:
    """`x IN (SELECT y ...)` joins x and y."""
    query = link["subselect"]["SelectStmt"]
    inner = Scope(names=dict(names_of(query.get("fromClause", ()), tables)), outer=scope)
    left = _subject(link["testexpr"], scope, tables)
    targets = query.get("targetList", ())
    right = _subject(targets[0]["ResTarget"]["val"], inner, tables) if len(targets) == 1 else None
    if left and right and left[0] != right[0]:
        found.joined.append((left[0], right[0]))


def _subject(node: Any, scope: Scope, tables: Sequence[Table]) -> tuple[Key, str] | None:
    """The one column that an expression is about, and what of it: EXTRACT(year FROM x) is (x, year)."""
    keys = {key for kind, part in shallow(node) if kind == "ColumnRef" and (key := scope.find(strings(part["fields"]), tables))}
    if len(keys) != 1:
        return None
    (kind, body) = next(iter(node.items()))
    if kind == "TypeCast":
        return _subject(body["arg"], scope, tables)
    if kind == "ColumnRef":
        return keys.pop(), ""
    if kind == "FuncCall":
        name = strings(body["funcname"])[-1]
        of = constant(body["args"][0]) if name in ("extract", "date_part") and body.get("args") else name
        return keys.pop(), of or "?"
    return keys.pop(), "?"


def _read_comparison(kind: str, node: Tree, scope: Scope, tables: Sequence[Table], found: Conditions, *, negated: bool, counting: bool) -> None:
    if kind == "NullTest":
        subject = _subject(node["arg"], scope, tables)
        if subject and subject[1] == "":
            is_null = (node["nulltesttype"] == "IS_NULL") != negated
            found.atoms.append(Atom(key=subject[0], operator="null" if is_null else "not null"))
        return
    name = strings(node.get("name"))[-1:]
    left, right = node.get("lexpr"), node.get("rexpr")
    constants = constants_of(right)
    if not constants and constants_of(left):
        left, right, constants = right, left, constants_of(left)
        name = tuple(FLIPPED.get(part, part) for part in name)
    subject = _subject(left, scope, tables)
    if constants is None and subject and (other := _subject(right, scope, tables)):
        if subject[0] != other[0]:
            found.joined.append((subject[0], other[0]))
        return
    behind = [
        found.derived[strings(part["fields"])[-1]]
        for kind, part in shallow(left)
        if kind == "ColumnRef" and strings(part["fields"])[-1] in found.derived
    ]
    if behind and not subject:
        left = [node for nodes in behind for node in nodes]
        counting = True
    if counting and constants:
        found.counts += [min(abs(int(value)), MOST_COUNTED) for value in constants if value.lstrip("-").isdigit()]
    if not constants:
        return
    keys = (
        [subject[0]]
        if subject
        else [key for part_kind, part in shallow(left) if part_kind == "ColumnRef" and (key := scope.find(strings(part["fields"]), tables))]
    )
    atoms = list(_atoms(str(node["kind"]), name[0] if name else "", subject, constants, negated)) if subject and not counting else []
    found.atoms += atoms
    if not atoms or counting or (subject and subject[1] == "?"):
        told = [value for part_kind, part in shallow(left) if part_kind == "A_Const" and "sval" in part and (value := constant({part_kind: part}))]
        for key in keys:
            found.near.setdefault(key, []).extend((*constants, *told))


def _atoms(kind: str, operator: str, subject: tuple[Key, str], values: tuple[str, ...], negated: bool) -> Iterator[Atom]:
    key, of = subject
    if kind in ("AEXPR_IN", "AEXPR_OP_ANY"):
        inside = (operator == "=") != negated
        yield Atom(key=key, operator="in" if inside else "not in", values=values, of=of)
    elif kind.startswith(("AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN")) and len(values) == 2:
        yield Atom(key=key, operator=">=", values=values[:1], of=of)
        yield Atom(key=key, operator="<=", values=values[1:], of=of)
    elif operator in OPERATORS and kind in ("AEXPR_OP", "AEXPR_LIKE", "AEXPR_ILIKE"):
        yield Atom(key=key, operator=NEGATED[operator] if negated else operator, values=values[:1], of=of)
