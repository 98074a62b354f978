"""Whether answers run on the tables of their own prompts: asked of a PostgreSQL that is started for it, which executes none of them."""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from preflight.files import Progress
from preflight.findings import Finding, Level
from preflight.postgres.causes import MENDS, Verdict
from preflight.postgres.ddl_text import Found
from preflight.postgres.preparing import Question, judge_answers
from preflight.postgres.server import NoPostgresError, started, why_unavailable

LINES = 5  # of each file that a finding names
MOST_SCHEMAS = 2_000  # above this the answers on a seeded sample of them are run: each takes 5 to 10 ms to be made
REASONS = 6  # that a finding names
WARNING, ERROR = 0.0, 0.10  # shares of failing answers from which on it is said, where colab_setup.yaml is not read
UNDER_WAY = "running answers on the tables of their prompts"


class Asked(NamedTuple):
    """An answer that PostgreSQL's grammar takes, and the DDL of its prompt."""

    line: int
    ddl: Found
    answer: str


class Limits(NamedTuple):
    """Above which shares of failing answers there is a warning, and an error. Below the first it is said, and no more."""

    warning: float = WARNING
    error: float = ERROR

    def level(self, share: float) -> Level:
        """What so large a share of failing answers is."""
        return "error" if share > self.error else "warning" if share > self.warning else "info"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A row."""

    path: Path
    line: int


@dataclass(frozen=True, kw_only=True)
class SqlAnswers:
    """What the answers do on the tables of their own prompts."""

    asked: int = 0
    rows: int = 0  # answers that there are: more than were asked where that is a sample
    unparsed: int = 0  # which PostgreSQL does not parse
    fails: Mapping[str, int] = field(default_factory=dict)  # by cause
    unchecked: Mapping[str, int] = field(default_factory=dict)  # by reason
    note: str = ""  # why none was judged

    @property
    def runs(self) -> int:
        """Answers that run."""
        return self.asked - sum(self.fails.values()) - sum(self.unchecked.values())

    @property
    def text(self) -> str:
        """The line of the report, in shares of those that were asked: the ones that PostgreSQL parses."""
        if self.note:
            return f"not run on their own schema: {self.note}"
        runs, fails, unchecked = (_percent(count / self.asked) for count in (self.runs, sum(self.fails.values()), sum(self.unchecked.values())))
        sample = f", of a sample of {self.asked:,}" if self.asked < self.rows else ""
        return f"{runs} run on their own schema, {fails} do not, {unchecked} not checked{sample}{self.others}"

    @property
    def others(self) -> str:
        """That some answers do not parse, and were not asked about."""
        return f"; {self.unparsed:,} more don't parse" if self.unparsed else ""

    def as_json(self) -> dict[str, object]:
        """The key `answers` of the rows in `--json`."""
        counts = {
            "asked": self.asked,
            "rows": self.rows,
            "unparsed": self.unparsed,
            "runs": self.runs,
            "fails": dict(self.fails),
            "not_checked": dict(self.unchecked),
        }
        return {**counts, "note": self.note}


Grouped = dict[str, list[tuple[Place, Verdict]]]


def run_answers(
    asked: Mapping[Path, Sequence[Asked]], counts: Mapping[Path, tuple[int, int]], limits: Limits, progress: Progress
) -> tuple[SqlAnswers | None, list[Finding]]:
    """What the answers of each file do, and what is to be said of it. `counts` are, of each file, the answers that
    PostgreSQL parses, asked or not, and the others."""
    if not any(asked.values()):
        return None, []
    kept = _chosen({one.ddl for rows in asked.values() for one in rows})
    places = [(Place(path=path, line=one.line), one) for path, rows in asked.items() for one in rows if kept is None or one.ddl in kept]
    total, rows, unparsed = len(places), *(sum(column) for column in zip(*counts.values(), strict=True))
    if reason := why_unavailable():
        return SqlAnswers(rows=rows, unparsed=unparsed, note=reason), [_not_here(reason)]
    fails: Grouped = {}
    unchecked: Grouped = {}
    try:
        progress(UNDER_WAY, 0, total)
        with started() as server:
            questions = (Question(number, one.ddl, one.answer) for number, (_, one) in enumerate(places))
            for done, (number, verdict) in enumerate(judge_answers(server, questions), 1):
                groups = {"fails": fails, "not checked": unchecked}.get(verdict.state)
                if groups is not None:
                    groups.setdefault(verdict.cause, []).append((places[number][0], verdict))
                progress(UNDER_WAY, done, total)
    except NoPostgresError as error:
        return SqlAnswers(rows=rows, unparsed=unparsed, note=str(error)), [_not_here(str(error))]
    order = {path: number for number, path in enumerate(asked)}
    for groups in (fails, unchecked):
        for found in groups.values():
            found.sort(key=lambda one: (order[one[0].path], one[0].line))
    made = SqlAnswers(asked=total, rows=rows, unparsed=unparsed, fails=_counted(fails), unchecked=_counted(unchecked))
    return made, check_fails(fails, total, limits) + check_unchecked(unchecked, total)


def _chosen(schemas: Collection[Found]) -> Collection[Found] | None:
    """The schemas whose answers are run, by a seed, where there are very many; None where all are."""
    if len(schemas) <= MOST_SCHEMAS:
        return None
    return set(random.Random(len(schemas)).sample(sorted(schemas, key=str), MOST_SCHEMAS))  # noqa: S311


def check_fails(fails: Mapping[str, Sequence[tuple[Place, Verdict]]], total: int, limits: Limits) -> list[Finding]:
    """`data.sql-fails`: answers that PostgreSQL refuses on the tables of their own prompt, one finding for each cause."""
    level = limits.level(sum(map(len, fails.values())) / total) if total else "info"
    findings = []
    for cause, found in _largest(fails):
        (place, verdict), count = found[0], len(found)
        message = f"{count:,} of {total:,} answers ({_share(count, total)}) do not run on the tables of their own prompt: {cause}. "
        message += f"{_lines(one for one, _ in found)}; the first: {verdict.message}"
        findings.append(Finding(code="data.sql-fails", level=level, where=f"{place.path}:{place.line}", message=message, fix=MENDS[cause]))
    return findings


def check_unchecked(unchecked: Mapping[str, Sequence[tuple[Place, Verdict]]], total: int) -> list[Finding]:
    """`data.sql-not-checked`: answers of which nothing is said, and why."""
    groups = _largest(unchecked)
    if not groups:
        return []
    count, place = sum(len(found) for _, found in groups), groups[0][1][0][0]
    said = [f"{len(found):,}: {reason} (first {_lines([found[0][0]])})" for reason, found in groups[:REASONS]]
    more = sum(len(found) for _, found in groups[REASONS:])
    message = f"{count:,} of {total:,} answers ({_share(count, total)}) were not run on the tables of their own prompt: " + "; ".join(said)
    message += f"; {more:,} for other reasons" if more else ""
    return [Finding(code="data.sql-not-checked", level="info", where=f"{place.path}:{place.line}", message=message)]


def _not_here(reason: str) -> Finding:
    message = f"whether the answers run on the tables of their own prompts was not checked: {reason}"
    return Finding(code="data.sql-not-checked", level="info", message=message, fix="scripts/setup.sh installs what it needs")


def _largest(groups: Mapping[str, Sequence[tuple[Place, Verdict]]]) -> list[tuple[str, Sequence[tuple[Place, Verdict]]]]:
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))


def _counted(groups: Grouped) -> dict[str, int]:
    return {name: len(found) for name, found in _largest(groups)}


def _percent(share: float) -> str:
    """A share that is neither 0% nor 100% unless it is."""
    return f"{min(max(share, 0.001), 0.999):.1%}" if 0 < share < 1 else f"{share:.0%}"


def _share(count: int, total: int) -> str:
    return "under 0.1%" if count / total < 0.001 else f"{count / total:.1%}"


def _lines(places: Iterable[Place]) -> str:
    """`lines 3, 7 and 2 more of train.jsonl`, for each file."""
    by_file: dict[Path, list[int]] = {}
    for place in places:
        by_file.setdefault(place.path, []).append(place.line)
    said = []
    for path, lines in by_file.items():
        more = f" and {len(lines) - LINES:,} more" if len(lines) > LINES else ""
        said.append(f"line{'s' * (len(lines) > 1)} {', '.join(str(line) for line in lines[:LINES])}{more} of {path.name}")
    return "; ".join(said)
