"""Whether an answer is right: it gives what the expected one gives, on databases made around that."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from preflight.postgres.catalog import Table
from preflight.postgres.comparing import Expected, Order, compare
from preflight.postgres.conditions import add_constants, read_conditions
from preflight.postgres.databases import Database, make_databases
from preflight.postgres.ddl import Schema
from preflight.postgres.exchange import TooLargeError
from preflight.postgres.links import find_parents
from preflight.postgres.ordering import Ranking, may_vary, read_ranking, run_expected
from preflight.postgres.proving import Proof, Rows, ShownTable, smallest
from preflight.postgres.running import MOST_ROWS, RESOURCES, RefusedError, Result, run_query
from preflight.postgres.sessions import Session
from preflight.postgres.trees import Tree, UnreadableError, read_query, read_statements, walk

Verdict = Literal["right", "wrong", "undecided", "not checked"]
Cause = Literal["", "does not parse", "does not run", "other rows", "other order", "other columns", "differs only at NULLs"]
CAUSES: tuple[Cause, ...] = ("does not parse", "does not run", "other columns", "other rows", "other order", "differs only at NULLs")
DATABASES = 10
LARGE = "its result is larger than any answer's"
SLOW, MOST_SLOW = "it takes more than it may", 2  # databases: what is slow on a few rows is slow on the others too


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was found of one answer. `detail` says in words what a cause leaves open, or why it could not be told."""

    verdict: Verdict
    cause: Cause = ""
    detail: str = ""
    proof: Proof | None = None


class Pair(NamedTuple):
    """An expected answer, one to judge, the schema that both are about, and the seed of the rows."""

    schema: Schema
    expected: str
    given: str
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A pair whose schema is loaded and whose expected answer runs."""

    session: Session
    pair: Pair
    query: Tree
    ranking: Ranking
    tables: tuple[Table, ...]  # that either answer names, and those that they refer to

    def expect(self) -> Expected:
        return run_expected(self.session.reader, self.pair.expected, self.ranking)

    def give(self, most: int = MOST_ROWS) -> Result:
        return run_query(self.session.reader, self.pair.given, most)


def judge_pair(session: Session, pair: Pair, databases: int = DATABASES) -> Judgement:
    """Judge one answer in a session. Raises LostError, after which the session has to be reopened."""
    import psycopg

    if pair.schema.unusable:
        return _unchecked(pair.schema.unusable)
    try:
        query = read_query(pair.expected)
    except UnreadableError as error:
        return _unchecked(f"the expected answer: {error}")
    try:
        session.load(pair.schema)
    except psycopg.Error as error:
        return _unchecked(f"the schema does not load: {_line(error)}")
    session.fill(dict.fromkeys(session.tables, ()) if len(session.tables) <= 20 else {})
    try:
        run_query(session.reader, pair.expected)
    except RefusedError as error:
        return _unchecked(f"the expected answer does not run: {error}")
    except TooLargeError:
        session.reopen()
        return _unchecked("the expected answer's result is too large")
    if _bare(pair.expected) == _bare(pair.given):
        return Judgement(verdict="right")
    refused = _refused(session, pair.given)
    if refused:
        return refused
    tables = tuple(_tables(session.tables, pair, query))
    case = _Case(session=session, pair=pair, query=query, ranking=read_ranking(pair.expected, query), tables=tables)
    return _on_databases(case, databases)


def _refused(session: Session, given: str) -> Judgement | None:
    """The judgement of an answer that does not even run on empty tables."""
    try:
        statements = read_statements(given)
    except UnreadableError as error:
        return Judgement(verdict="wrong", cause="does not parse", detail=str(error))
    if not statements:
        return Judgement(verdict="wrong", cause="does not parse", detail="it holds no statement")
    try:
        read_query(given)
    except UnreadableError as error:
        return Judgement(verdict="wrong", cause="does not run", detail=str(error))
    try:
        run_query(session.reader, given, 1)
    except RefusedError as error:
        return None if error.is_timeout else Judgement(verdict="wrong", cause="does not run", detail=str(error))
    except TooLargeError:
        session.reopen()
        return Judgement(verdict="wrong", cause="other rows", detail=LARGE)
    return None


def _tables(tables: Sequence[Table], pair: Pair, query: Tree) -> Iterator[Table]:
    """The tables that either answer names, and all that those refer to."""
    named = {str(node.get("relname")) for tree in (query, read_query(pair.given)) for kind, node in walk(tree) if kind == "RangeVar"}
    wanted = find_parents(named, pair.schema.foreign_keys)
    return (table for table in tables if table.name in wanted)


def _on_databases(case: _Case, count: int) -> Judgement:
    found = read_conditions(case.query, case.tables)
    add_constants(found, read_conditions(read_query(case.pair.given), case.tables))
    orders: tuple[Order, ...] | None = None
    seen: set[object] = set()
    dropped: list[str] = []
    clean = False
    for database in make_databases(case.tables, case.pair.schema.foreign_keys, found, count, case.pair.seed):
        judgement, expected, kept = _on_one(case, database, orders)
        if judgement and judgement.verdict == "wrong":
            by_nulls = database.has_nulls and clean and judgement.cause in ("other rows", "other order")
            return replace(judgement, cause="differs only at NULLs") if by_nulls else judgement
        if judgement or not expected:
            dropped.append(judgement.detail if judgement else "")
            if sum(why.startswith(SLOW) for why in dropped) >= MOST_SLOW:
                break
            continue
        orders, clean = kept, clean or not database.has_nulls
        seen.add(frozenset(expected.result.rows) if not expected.ordered else expected.result.rows)
    if not seen or sum(why.startswith(SLOW) for why in dropped) >= MOST_SLOW:
        return _unchecked(dropped[-1] if dropped else "no database could be made")
    if len(seen) == 1:
        return Judgement(verdict="undecided", detail="the expected answer gives the same on every database")
    moved = orders is not None and tuple(range(len(orders[0]))) not in orders
    return Judgement(verdict="right", detail="its columns stand in another order" if moved else "")


def _on_one(case: _Case, database: Database, orders: tuple[Order, ...] | None) -> tuple[Judgement | None, Expected | None, tuple[Order, ...]]:
    """(the judgement where there is one already, else what was expected and the orders of columns that do)."""
    case.session.fill(database.rows)
    try:
        expected = case.expect()
    except (RefusedError, TooLargeError) as error:
        return _unchecked(f"the expected answer does not run on the databases: {error}"), None, ()
    if len(expected.result.rows) >= MOST_ROWS:
        return _unchecked("the expected answer gives too many rows"), None, ()
    try:
        given = case.give(len(expected.result.rows) + 1)
    except TooLargeError:
        case.session.reopen()
        return Judgement(verdict="wrong", cause="other rows", detail=LARGE), None, ()
    except RefusedError as error:
        if error.is_timeout or error.sqlstate.startswith(RESOURCES):
            return _unchecked(f"{SLOW}: {error}"), None, ()
        proof = _prove(case, database.rows, orders)
        return Judgement(verdict="wrong", cause="does not run", detail=str(error), proof=proof), None, ()
    cause, kept = compare(expected, given, orders)
    if not cause:
        return None, expected, kept
    if may_vary(case.query):
        case.session.fill(database.rows, backwards=True)
        try:
            again = compare(expected, case.expect().result)[0]
        except (RefusedError, TooLargeError):
            again = "other rows"
        if again:
            return _unchecked("the expected answer gives other rows from run to run"), None, ()
    if orders is not None and not compare(expected, given)[0]:
        cause = "other columns"
    return Judgement(verdict="wrong", cause=cause, proof=_prove(case, database.rows, orders)), None, ()


def _prove(case: _Case, rows: Rows, orders: tuple[Order, ...] | None) -> Proof | None:
    """The smallest database that shows the difference, and both results on it."""

    def outcome(some: Rows) -> tuple[Expected, Result | None, str] | None:
        case.session.fill(some)
        try:
            expected = case.expect()
        except (RefusedError, TooLargeError):
            return None
        try:
            given = case.give()
        except RefusedError as error:
            return None if error.is_timeout else (expected, None, str(error))
        except TooLargeError:
            return None
        return (expected, given, "") if compare(expected, given, orders)[0] else None

    def differ(some: Rows) -> bool:
        return outcome(some) is not None

    few = smallest(rows, case.pair.schema.foreign_keys, differ)
    shown = outcome(few)
    if shown is None:
        return None
    expected, given, error = shown
    tables = tuple(ShownTable(name=table.name, columns=tuple(c.name for c in table.columns), rows=part) for table, part in few.items())
    return Proof(tables=tables, expected=_shown(expected.result), given=_shown(given) if given else None, error=error)


def _shown(result: Result) -> ShownTable:
    return ShownTable(name="", columns=result.names, rows=result.rows)


def _unchecked(why: str) -> Judgement:
    return Judgement(verdict="not checked", detail=why)


def _bare(text: str) -> str:
    """A text without what stands for nothing; blanks in literals count, and those that a comment or another kind of quote may hold."""
    if re.search(r"--|/\*|\$|\"|\b[eE]'", text):
        return text.strip().rstrip("; \t\r\n")
    parts = re.split(r"('(?:[^']|'')*')", text.strip().rstrip("; \t\r\n"))
    return "".join(part if i % 2 else re.sub(r"\s+", " ", part) for i, part in enumerate(parts))


def _line(error: Exception) -> str:
    return " ".join(str(error).split("\n", 1)[0].split())
