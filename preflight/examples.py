"""Look through the rows of a config, once: what is wrong with them, what stands twice, and how long they are."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.findings import Finding
from preflight.overlap import Seen, check_duplicates, check_leakage
from preflight.rows import Row, Shape, check_rows, read_rows, shape_of
from preflight.staging import DataFile, Progress, Staged
from preflight.tokens import Lengths, Measured, Tokenizer, check_lengths, check_special_tokens, find_tokenizer, measure

MOST_ROWS = 50_000  # above this, lengths are those of a seeded sample; all else is over every row
BATCH = 500  # rows tokenised at once: enough for every core, little enough to hold


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The lengths of the rows of a config: one Lengths for each entry of `datasets` and of `test_datasets`."""

    train: tuple[Lengths, ...] = ()
    held_out: tuple[Lengths, ...] = ()
    tokenizer: str = ""  # where it comes from


@dataclass(frozen=True, kw_only=True)
class File:
    """A staged file, and how it is read."""

    key: str  # `datasets.0`; empty for the test rows, which are read as the first training rows are
    path: Path
    rows: int
    shape: Shape


def inspect_examples(
    values: Mapping[str, Any], files: Sequence[DataFile], staged: Sequence[Staged], progress: Progress
) -> tuple[Counted, list[Finding]]:
    """The lengths of all rows, read where they were staged, and all that is wrong with them. Raises OSError."""
    entries = {
        f"{name}.{i}": entry for name in ("datasets", "test_datasets") for i, entry in enumerate(values.get(name) or ()) if isinstance(entry, Mapping)
    }
    known = list(_known(entries, files, staged))
    base_model = str(values.get("base_model") or "")
    tokenizer = find_tokenizer(base_model) if known else None
    reason = _why_not_counted(entries, files, known, tokenizer, base_model) if not values.get("rl") else "of another method than fine-tuning"
    findings: list[Finding] = []
    lengths: dict[str, Lengths] = {}
    seen: dict[str, list[Seen]] = {"datasets": [], "test_datasets": [], "": []}
    for file in known:
        one, problems, counted, written = _look_through(file, values, tokenizer if file.key and not reason else None, progress)
        findings += check_rows(file.path, problems)
        if tokenizer:
            findings += check_special_tokens(file.path, written["bos"], tokenizer.bos, "at the start of the text, so it would stand there twice")
            findings += check_special_tokens(file.path, written["eos"], tokenizer.eos, "in the middle of the text, which teaches to stop there")
        seen[file.key.partition(".")[0]].append(one)
        if counted and tokenizer:
            lengths[file.key] = counted
            findings += check_lengths(counted, file.shape, values)
    findings += check_duplicates([*seen["datasets"], *seen["test_datasets"]])
    findings += check_leakage(seen["datasets"], [*seen["test_datasets"], *seen[""]])
    if reason or tokenizer is None:
        skipped = (
            [Finding(code="internal.skipped", level="info", message=f"steps were not counted: {reason}")] if reason and reason != MISSING else []
        )
        return Counted(), findings + skipped
    train, held_out = (tuple(lengths[key] for key in entries if key.startswith(f"{name}.")) for name in ("datasets", "test_datasets"))
    return Counted(train=train, held_out=held_out, tokenizer=tokenizer.source), findings


MISSING = "a file is missing, which is said already"


def _known(entries: Mapping[str, Mapping[str, Any]], files: Sequence[DataFile], staged: Sequence[Staged]) -> Iterator[File]:
    """Each file that was staged and whose shape is read here."""
    records = {record.source: (rows.folder / record.name, record.rows) for rows in staged for record in rows.files}
    first = next(iter(entries), "")
    for file in files:
        key = file.key.removesuffix(".path")
        shape = shape_of(entries.get(key or first, {}))
        if shape and str(file.source) in records:
            path, rows = records[str(file.source)]
            yield File(key=key, path=path, rows=rows, shape=shape)


def _why_not_counted(
    entries: Mapping[str, Mapping[str, Any]], files: Sequence[DataFile], known: Sequence[File], tokenizer: Tokenizer | None, base_model: str
) -> str:
    """Why the steps can't be counted, or ''."""
    local = {file.key.removesuffix(".path") for file in files}
    there = {file.key for file in known}
    for key, entry in entries.items():
        if key in local and key not in there and shape_of(entry):
            return MISSING
        if key not in there:
            return f"the rows of {key} are not local JSONL of text, messages or instructions"
    if tokenizer is None and entries:
        return f"the tokenizer of {base_model} is not on this machine"
    return "" if entries else MISSING


def _look_through(
    file: File, values: Mapping[str, Any], tokenizer: Tokenizer | None, progress: Progress
) -> tuple[Seen, list[Row], Lengths | None, dict[str, list[int]]]:
    """What stands in a file and where, its bad rows, the lengths of the others if there is a tokenizer, and the lines of the texts
    that have special tokens written out."""
    sampled = file.rows > MOST_ROWS
    chosen = set(random.Random(0).sample(range(file.rows), MOST_ROWS)) if sampled else None  # noqa: S311
    seen, problems = Seen(path=file.path), list[Row]()
    written: dict[str, list[int]] = {"bos": [], "eos": []}
    measured: list[Measured] = []
    for number, batch in enumerate(_batches(read_rows(file.path, file.shape))):
        good = [row for row in batch if not row.problem]
        problems += [row for row in batch if row.problem]
        for row in good:
            seen.add(row)
            if tokenizer and file.shape.kind == "text":
                written["bos"] += [row.line] * bool(tokenizer.bos and row.text.startswith(tokenizer.bos))
                written["eos"] += [row.line] * bool(tokenizer.eos and tokenizer.eos in row.text.removesuffix(tokenizer.eos))
        if tokenizer:
            counted = [row for i, row in enumerate(good, number * BATCH) if chosen is None or i in chosen]
            measured += measure(counted, file.shape, values, tokenizer) if counted else []
        progress(f"looking through {file.path.name}", batch[-1].line, file.rows)
    if not tokenizer:
        return seen, problems, None, written
    lengths = Lengths(
        path=file.path,
        rows=file.rows,
        lengths=tuple(one.tokens for one in measured),
        sequences=tuple(one.sequences for one in measured),
        trained=tuple(one.trained for one in measured),
        sampled=sampled,
    )
    return seen, problems, lengths, written


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch
