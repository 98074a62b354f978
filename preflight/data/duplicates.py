"""What repeats, by its meaning: within a file, and between the rows that are trained on and those that are held out."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preflight.data.meaning import folded, tables_and_rest
from preflight.findings import Finding, Level

DELETE = "delete them, or leave them where they are meant to weigh more; Axolotl drops those that are the same to the letter with dataset_exact_deduplication: true"
DELETE_TEST = "delete them: what is asked twice counts twice in the accuracy"
SPLIT = "scripts/package_data.sh --split-by-schema splits the rows anew, so that no database is on both sides"


def _numbers() -> "array[int]":
    return array("Q")


@dataclass
class RowDigests:
    """For each row of one file its line and the digests of its example, its question, the CREATE TABLE statements that it shows, and those
    with its answer (0 where it has none), 40 bytes in all.

    8 bytes a digest: two of 10 million rows agree by chance once in 400,000 files.
    """

    path: Path
    lines: "array[int]" = field(default_factory=_numbers)
    examples: "array[int]" = field(default_factory=_numbers)
    questions: "array[int]" = field(default_factory=_numbers)
    databases: "array[int]" = field(default_factory=_numbers)
    answers: "array[int]" = field(default_factory=_numbers)

    def add(self, line: int, question: str, answer: str) -> None:
        tables, asked = tables_and_rest(folded(question))
        sql = folded(answer).encode()
        database = _digest(tables.encode())
        whole = _digest(database, asked.encode())
        self.lines.append(line)
        self.questions.append(_number(whole) if question else 0)
        self.examples.append(_number(_digest(whole, sql)))
        self.databases.append(_number(database) if tables else 0)
        self.answers.append(_number(_digest(database, sql)) if tables else 0)

    def extend(self, later: "RowDigests") -> None:
        """Add the rows of a later part of the file."""
        for name in ("lines", "examples", "questions", "databases", "answers"):
            getattr(self, name).extend(getattr(later, name))

    def cut(self, stretches: Sequence[tuple[int, int]]) -> "RowDigests":
        """Those of its rows that lie in these stretches."""
        kept = RowDigests(path=self.path)
        for a, b in stretches:
            parts = (self.lines[a:b], self.examples[a:b], self.questions[a:b], self.databases[a:b], self.answers[a:b])
            kept.extend(RowDigests(self.path, *parts))
        return kept

    def line_of(self, example: int) -> int:
        """The first line with this example."""
        return self.lines[self.examples.index(example)]

    def repeated(self) -> Iterator[tuple[int, int]]:
        """(line, example) of each row that repeats an earlier one."""
        met = set[int]()
        for line, example in zip(self.lines, self.examples, strict=True):
            if example in met:
                yield line, example
            met.add(example)


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=8).digest()


def _number(digest: bytes) -> int:
    return int.from_bytes(digest)


def check_duplicates(seen: Sequence[RowDigests], tests: Sequence[RowDigests] = ()) -> list[Finding]:
    """`data.duplicates`: the same example twice in one file, of training and validation rows or of `tests`."""
    findings = []
    for one in (*seen, *tests):
        if repeated := list(one.repeated()):
            line, example = repeated[0]
            first = f"for example, line {line} repeats line {one.line_of(example)}"
            message = f"{len(repeated):,} rows in {one.path.name} are duplicates; {first}"
            fix = DELETE_TEST if one in tests else DELETE
            findings.append(Finding(code="data.duplicates", level="warning", where=f"{one.path}:{line}", message=message, fix=fix))
    return findings


def check_answers(train: Sequence[RowDigests]) -> list[Finding]:
    """`data.same-question` for questions that are trained on with two answers."""
    met, twice = set[int](), set[int]()
    for one in train:
        for question in one.questions:
            if question in met:
                twice.add(question)
            met.add(question)
    twice.discard(0)
    del met
    first: dict[int, tuple[int, int, RowDigests]] = {}
    asked: dict[int, tuple[int, int, RowDigests, RowDigests]] = {}
    for one in train:
        for line, question, example in zip(one.lines, one.questions, one.examples, strict=True) if twice else ():
            if question in twice:
                answer, before, file = first.setdefault(question, (example, line, one))
                if answer != example:
                    asked.setdefault(question, (before, line, file, one))
    if not asked:
        return []
    before, line, file, one = next(iter(asked.values()))
    message = f"{len(asked):,} questions are trained on with more than one answer; for example, line {line} of {one.path.name} and line {before}"
    message += "" if file is one else f" of {file.path.name}"
    fix = "see which of the answers is right, and delete the others"
    return [Finding(code="data.same-question", level="warning", where=f"{one.path}:{line}", message=message, fix=fix)]


def check_leakage(train: Sequence[RowDigests], held_out: Sequence[RowDigests]) -> list[Finding]:
    """`data.leakage`: a held-out example that is trained on; `data.same-question`: its question, with another answer; `data.same-sql`: its
    database and answer, asked in other words."""
    findings = []
    for other in held_out:
        for one in train:
            findings += _leaked(one, other, f"examples of {other.path.name} are trained on, so it measures memory, not learning", "error")
            findings += _asked_otherwise(one, other)
        findings += _in_other_words(train, other)
    return findings


def check_test(validation: Sequence[RowDigests], test: Sequence[RowDigests]) -> list[Finding]:
    """`data.leakage` for test rows that are validation rows as well."""
    return [
        finding
        for other in test
        for one in validation
        for finding in _leaked(one, other, f"examples of {other.path.name} are validation rows too, by which the checkpoint is chosen", "warning")
    ]


def _leaked(one: RowDigests, other: RowDigests, what: str, level: Level) -> list[Finding]:
    same = set(other.examples).intersection(one.examples)
    if not same:
        return []
    line, example = next((line, example) for line, example in zip(other.lines, other.examples, strict=True) if example in same)
    message = f"{len(same):,} {what}; for example, line {line} is line {one.line_of(example)} of {one.path.name}"
    return [Finding(code="data.leakage", level=level, where=f"{other.path}:{line}", message=message, fix=f"delete them from {one.path.name}")]


def _asked_otherwise(one: RowDigests, other: RowDigests) -> list[Finding]:
    same = set(other.examples).intersection(one.examples)
    asked = set(other.questions).intersection(one.questions) - {0}
    rows = zip(other.lines, other.questions, other.examples, strict=True)
    if not (again := [line for line, question, example in rows if question in asked and example not in same]):
        return []
    message = f"{len(again):,} questions of {other.path.name} are also in {one.path.name}, with another answer"
    fix = "see whether one of the two answers is wrong"
    return [Finding(code="data.same-question", level="warning", where=f"{other.path}:{again[0]}", message=message, fix=fix)]


def _in_other_words(train: Sequence[RowDigests], other: RowDigests) -> list[Finding]:
    known = set(other.answers).intersection(_each(one.answers for one in train)) - {0}
    asked = set(other.questions).intersection(_each(one.questions for one in train))
    rows = zip(other.lines, other.questions, other.answers, strict=True)
    again = [(line, answer) for line, question, answer in rows if answer in known and question not in asked]
    if not again:
        return []
    line, answer = again[0]
    one = next(one for one in train if answer in one.answers)
    databases = set(other.databases) - {0}
    shared = len(databases.intersection(_each(one.databases for one in train)))
    message = (
        f"{len(again):,} of {len(other.lines):,} rows of {other.path.name} want an answer that is trained on, from the same database in other words"
    )
    message += f"; for example, line {line} and line {one.lines[one.answers.index(answer)]} of {one.path.name}"
    message += f". {shared:,} of its {len(databases):,} databases are trained on, so it tells little of others"
    return [Finding(code="data.same-sql", level="warning", where=f"{other.path}:{line}", message=message, fix=SPLIT)]


def _each(parts: Iterable["array[int]"]) -> Iterator[int]:
    return (number for part in parts for number in part)
