"""From the syntax tree of a statement to one that is safe to run: tables, columns, types and keys, and nothing else."""

from dataclasses import dataclass, field
from typing import Any

from preflight.postgres.ddl_text import is_deep
from preflight.postgres.ddl_types import TYPES

IGNORED_CHANGES = {  # of ALTER TABLE: what no answer needs
    "AT_ColumnDefault",
    "AT_ChangeOwner",
    "AT_EnableRowSecurity",
    "AT_DisableRowSecurity",
    "AT_ForceRowSecurity",
    "AT_ClusterOn",
    "AT_SetNotNull",
    "AT_DropNotNull",
    "AT_AddIdentity",
    "AT_ReplicaIdentity",
    "AT_SetStatistics",
    "AT_SetStorage",
    "AT_ValidateConstraint",
}
LARGEST = 10_485_760  # characters of a varchar
KEPT = {"CONSTR_NOTNULL", "CONSTR_NULL", "CONSTR_PRIMARY", "CONSTR_UNIQUE"}


class UnreadError(Exception):
    """Why DDL can't be used, in words."""


@dataclass(kw_only=True)
class Gathered:
    """What was read of a prompt so far."""

    types: dict[str, Any] = field(default_factory=dict)  # name -> tree
    tables: dict[str, Any] = field(default_factory=dict)
    foreign_keys: list[tuple[str, tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=list)
    namespaces: dict[str, None] = field(default_factory=dict)

    @property
    def statements(self) -> tuple[str, ...]:
        """All of it, written anew in an order that works. Raises UnreadError."""
        from pglast.stream import RawStream

        places = [f'CREATE SCHEMA "{name}"' for name in self.namespaces]
        first = [tree for tree in self.tables.values() if not _follows(tree)]
        later = [tree for tree in self.tables.values() if _follows(tree)]
        try:
            return (*places, *(RawStream()(tree) for tree in (*self.types.values(), *first, *later)))
        except (NotImplementedError, RecursionError, AttributeError, TypeError, ValueError) as error:
            raise UnreadError(f"DDL that can't be written anew: {error}") from None


def gather(text: str, gathered: Gathered) -> None:
    """Add what one statement says. Raises SyntaxError where PostgreSQL's parser refuses it, and UnreadError."""
    from pglast import ast, parse_sql
    from pglast.parser import ParseError

    if is_deep(text):
        raise UnreadError("DDL that is nested too deeply")
    try:
        parsed = parse_sql(text)
    except ParseError as error:
        raise SyntaxError(str(error.args[0])) from None
    except (ValueError, RecursionError) as error:
        raise UnreadError(f"DDL that is not read: {error}") from None
    if len(parsed) != 1:
        raise UnreadError("several statements where one CREATE TABLE was expected")
    tree: Any = parsed[0].stmt
    if isinstance(tree, ast.CreateStmt):
        _add(gathered, gathered.tables, _relation(tree.relation, gathered), _clean_table(tree, gathered), "table")
    elif isinstance(tree, ast.CreateEnumStmt):
        _add(gathered, gathered.types, _type_name(tree.typeName, gathered), tree, "type")
    elif isinstance(tree, ast.CompositeTypeStmt):
        tree.coldeflist = tuple(_clean_column(column, "", gathered) for column in tree.coldeflist or ())
        _add(gathered, gathered.types, _relation(tree.typevar, gathered), tree, "type")
    elif isinstance(tree, ast.CreateDomainStmt):
        tree.constraints, tree.collClause = None, None
        _clean_type(tree.typeName, gathered)
        _add(gathered, gathered.types, _type_name(tree.domainname, gathered), tree, "type")
    elif isinstance(tree, ast.AlterTableStmt):
        _alter(tree, gathered)
    elif isinstance(tree, ast.RenameStmt):
        raise UnreadError("the prompt holds ALTER TABLE ... RENAME")
    else:
        raise UnreadError(f"the prompt holds a {type(tree).__name__.removesuffix('Stmt')} statement in the place of CREATE TABLE")


def _add(gathered: Gathered, where: dict[str, Any], name: str, tree: Any, what: str) -> None:
    """Add a table or a type; the same twice is once. Raises UnreadError."""
    from pglast.stream import RawStream

    if name in where and RawStream()(where[name]) != RawStream()(tree):
        raise UnreadError(f"the {what} {name} is defined twice, and not alike")
    where.setdefault(name, tree)


def _relation(relation: Any, gathered: Gathered) -> str:
    """The name of a table, with its schema where that is not public. Raises UnreadError."""
    if relation.catalogname:
        raise UnreadError(f"a name of three parts: {relation.catalogname}.{relation.schemaname}.{relation.relname}")
    return _placed((relation.schemaname, relation.relname) if relation.schemaname else (relation.relname,), gathered)


def _type_name(names: Any, gathered: Gathered) -> str:
    return _placed(tuple(name.sval for name in names), gathered)


def _placed(names: tuple[str, ...], gathered: Gathered) -> str:
    *places, name = names
    if len(places) > 1:
        raise UnreadError(f"a name of three parts: {'.'.join(names)}")
    if not places or places[0] == "public":
        return name
    place = places[0]
    if place.startswith("pg_") or place == "information_schema" or not place.isidentifier() or len(place.encode()) > 63:
        raise UnreadError(f"a table in schema {place}")
    gathered.namespaces.setdefault(place)
    return f"{place}.{name}"


def _follows(tree: Any) -> bool:
    """Whether a table needs another one first."""
    return bool(tree.inhRelations) or any(type(element).__name__ == "TableLikeClause" for element in tree.tableElts or ())


def _clean_table(tree: Any, gathered: Gathered) -> Any:
    from pglast import ast
    from pglast.enums import OnCommitAction

    if tree.ofTypename:
        raise UnreadError("the prompt holds CREATE TABLE ... OF a type")
    name = _relation(tree.relation, gathered)
    if tree.partbound:  # a part has the columns of its whole
        like = ast.TableLikeClause(relation=tree.inhRelations[0], options=0)
        return ast.CreateStmt(relation=tree.relation, tableElts=(like,), oncommit=OnCommitAction.ONCOMMIT_NOOP)
    elements = []
    for element in tree.tableElts or ():
        if isinstance(element, ast.ColumnDef):
            elements.append(_clean_column(element, name, gathered))
        elif isinstance(element, ast.Constraint):
            elements += _clean_constraints((element,), name, "", gathered)
        elif isinstance(element, ast.TableLikeClause):
            elements.append(ast.TableLikeClause(relation=element.relation, options=0))
    relation = tree.relation
    relation.relpersistence = "p"
    if relation.schemaname == "pg_temp":
        raise UnreadError("a table in schema pg_temp")
    return ast.CreateStmt(relation=relation, tableElts=tuple(elements), inhRelations=tree.inhRelations, oncommit=OnCommitAction.ONCOMMIT_NOOP)


def _clean_column(column: Any, table: str, gathered: Gathered) -> Any:
    from pglast import ast

    _clean_type(column.typeName, gathered)
    kept = _clean_constraints(column.constraints or (), table, column.colname, gathered)
    return ast.ColumnDef(colname=column.colname, typeName=column.typeName, constraints=tuple(kept) or None, is_local=True)


def _clean_constraints(constraints: Any, table: str, column: str, gathered: Gathered) -> list[Any]:
    """The keys of a table or of a column; foreign ones are noted."""
    from pglast import ast

    kept = []
    for constraint in constraints:
        kind = constraint.contype.name
        if kind == "CONSTR_FOREIGN":
            own = (column,) if column else _strings(constraint.fk_attrs)
            parent = constraint.pktable
            full = f"{parent.schemaname}.{parent.relname}" if parent.schemaname not in (None, "public") else parent.relname
            gathered.foreign_keys.append((table, own, full, _strings(constraint.pk_attrs)))
        elif kind in KEPT:
            kept.append(ast.Constraint(contype=constraint.contype, keys=constraint.keys, initially_valid=True, is_enforced=True))
    return kept


def _strings(names: Any) -> tuple[str, ...]:
    return tuple(name.sval for name in names or ())


def _clean_type(kind: Any, gathered: Gathered) -> None:
    """Make a type one of PostgreSQL's, where it is known as another dialect's. Raises UnreadError."""
    from pglast import ast

    if kind is None:
        raise UnreadError("a column without a type")
    if kind.setof or kind.pct_type:
        raise UnreadError("a column of the type of another column")
    names = _strings(kind.names)
    plain = all(
        isinstance(modifier, ast.A_Const) and isinstance(modifier.val, ast.Integer) and (modifier.val.ival or 0) <= LARGEST
        for modifier in kind.typmods or ()
    )
    if not plain:
        kind.typmods = None
    if len(names) == 1 and names[0] not in gathered.types and names[0] in TYPES:
        mapped, sized = TYPES[names[0]]
        kind.names = (ast.String(sval=mapped),)
        if not sized:
            kind.typmods = None


def _alter(tree: Any, gathered: Gathered) -> None:
    """What ALTER TABLE adds to a table that is there. Raises UnreadError."""
    name = _relation(tree.relation, gathered)
    table = gathered.tables.get(name)
    for change in tree.cmds or ():
        kind = change.subtype.name
        if kind in IGNORED_CHANGES:
            continue
        if table is None:
            raise UnreadError(f"ALTER TABLE of {name}, which is not there")
        if kind == "AT_AddConstraint":
            added = _clean_constraints((change.def_,), name, "", gathered)
        elif kind == "AT_AddColumn":
            added = [_clean_column(change.def_, name, gathered)]
        else:
            raise UnreadError("the prompt holds an ALTER TABLE that is not read")
        table.tableElts = (*(table.tableElts or ()), *added)
