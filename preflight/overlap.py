"""Duplicates within a file, and examples that stand in the training rows and in held-out ones as well."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preflight.findings import Finding
from preflight.rows import Row

MARKER = "[/INST]"  # ends the question in a `text` row: Mistral's instruction markup


@dataclass
class Seen:
    """Digests of the rows of one file, by the line where each first stood. 8 bytes a digest: two of 10 million rows agree by chance
    once in 400,000 files."""

    path: Path
    examples: dict[bytes, int] = field(default_factory=dict)
    questions: dict[bytes, int] = field(default_factory=dict)
    repeated: list[tuple[int, int]] = field(default_factory=list)  # (line, line where it first stood)

    def add(self, row: Row) -> None:
        question, answer = question_and_answer(row)
        example = _digest(question + "\0" + answer)
        first = self.examples.setdefault(example, row.line)
        if first != row.line:
            self.repeated.append((row.line, first))
        if question:
            self.questions.setdefault(_digest(question), row.line)


def question_and_answer(row: Row) -> tuple[str, str]:
    """All up to the last answer, and that answer. A text without Mistral's markup is all answer."""
    if row.messages:
        return "\n".join(content for _, content in row.messages[:-1]), row.messages[-1][1]
    question, marker, answer = row.text.rpartition(MARKER)
    return question + marker, answer


def check_duplicates(seen: Sequence[Seen]) -> list[Finding]:
    """`data.duplicates`: the same example twice in one file."""
    return [
        Finding(
            code="data.duplicates",
            level="warning",
            where=f"{one.path}:{one.repeated[0][0]}",
            message=f"{len(one.repeated):,} of the rows of {one.path.name} stand there before; "
            f"the first in line {one.repeated[0][0]}, as in line {one.repeated[0][1]}",
            fix="delete them, or leave them where they are meant to weigh more; Axolotl drops them with dataset_exact_deduplication: true",
        )
        for one in seen
        if one.repeated
    ]


def check_leakage(train: Sequence[Seen], held_out: Sequence[Seen]) -> list[Finding]:
    """`data.leakage`: a held-out example that is trained on; `data.same-question`: its question, with another answer."""
    findings = []
    for other in held_out:
        for one in train:
            same = one.examples.keys() & other.examples.keys()
            if same:
                line, first = min((other.examples[example], one.examples[example]) for example in same)
                message = f"{len(same):,} examples of {other.path.name} are trained on, so it measures memory, not learning; "
                message += f"the first in line {line}, as in line {first} of {one.path.name}"
                fix = f"delete them from {one.path.name}"
                findings.append(Finding(code="data.leakage", level="error", where=f"{other.path}:{line}", message=message, fix=fix))
            # a question both of whose examples are the same is leakage already
            asked = one.questions.keys() & other.questions.keys()
            if len(asked) > len(same):
                line = min(other.questions[question] for question in asked)
                message = f"{len(asked) - len(same):,} questions of {other.path.name} stand in {one.path.name} as well, with another answer"
                fix = "see whether one of the two answers is wrong"
                findings.append(Finding(code="data.same-question", level="warning", where=f"{other.path}:{line}", message=message, fix=fix))
    return findings


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
