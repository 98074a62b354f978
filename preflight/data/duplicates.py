"""Duplicates within a file, and examples that are both trained on and held out."""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preflight.findings import Finding


@dataclass
class RowDigests:
    """For each row of one file its line and the digests of its example and of its question (0 where it has none), 24 bytes in all.

    8 bytes a digest: two of 10 million rows agree by chance once in 400,000 files.
    """

    path: Path
    lines: "array[int]" = field(default_factory=lambda: array("Q"))
    examples: "array[int]" = field(default_factory=lambda: array("Q"))
    questions: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, line: int, question: str, answer: str) -> None:
        digest = hashlib.blake2b(question.encode(), digest_size=8)
        self.lines.append(line)
        self.questions.append(int.from_bytes(digest.digest()) if question else 0)
        digest.update(b"\0" + answer.encode())
        self.examples.append(int.from_bytes(digest.digest()))

    def extend(self, later: "RowDigests") -> None:
        """Add the rows of a later part of the file."""
        self.lines.extend(later.lines)
        self.examples.extend(later.examples)
        self.questions.extend(later.questions)

    def cut(self, stretches: Sequence[tuple[int, int]]) -> "RowDigests":
        """Those of its rows that lie in these stretches."""
        parts = [(self.lines[a:b], self.examples[a:b], self.questions[a:b]) for a, b in stretches]
        kept = RowDigests(path=self.path)
        for lines, examples, questions in parts:
            kept.extend(RowDigests(path=self.path, lines=lines, examples=examples, questions=questions))
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


def check_duplicates(seen: Sequence[RowDigests]) -> list[Finding]:
    """`data.duplicates`: the same example twice in one file."""
    findings = []
    for one in seen:
        if repeated := list(one.repeated()):
            line, example = repeated[0]
            first = f"for example, line {line} repeats line {one.line_of(example)}"
            message = f"{len(repeated):,} rows in {one.path.name} are duplicates; {first}"
            fix = "delete them, or leave them where they are meant to weigh more; Axolotl drops them with dataset_exact_deduplication: true"
            findings.append(Finding(code="data.duplicates", level="warning", where=f"{one.path}:{line}", message=message, fix=fix))
    return findings


def check_leakage(train: Sequence[RowDigests], held_out: Sequence[RowDigests]) -> list[Finding]:
    """`data.leakage`: a held-out example that is trained on; `data.same-question`: its question, with another answer."""
    findings = []
    for other in held_out:
        for one in train:
            same = set(other.examples).intersection(one.examples)
            if same:
                line, example = next((line, example) for line, example in zip(other.lines, other.examples, strict=True) if example in same)
                message = f"{len(same):,} examples of {other.path.name} are trained on, so it measures memory, not learning; "
                message += f"for example, line {line} is line {one.line_of(example)} of {one.path.name}"
                fix = f"delete them from {one.path.name}"
                findings.append(Finding(code="data.leakage", level="error", where=f"{other.path}:{line}", message=message, fix=fix))
            asked = set(other.questions).intersection(one.questions) - {0}
            rows = zip(other.lines, other.questions, other.examples, strict=True)
            if again := [line for line, question, example in rows if question in asked and example not in same]:
                message = f"{len(again):,} questions of {other.path.name} are also in {one.path.name}, with another answer"
                fix = "see whether one of the two answers is wrong"
                findings.append(Finding(code="data.same-question", level="warning", where=f"{other.path}:{again[0]}", message=message, fix=fix))
    return findings
