"""Look through the rows of a config, once: what is wrong with them, what stands twice, and how long they are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflight.findings import Finding
from preflight.looking import Look, Stretch, look_through
from preflight.overlap import Seen, check_duplicates, check_leakage
from preflight.rows import Shape, check_near_empty, check_rows, read_rows, shape_of
from preflight.sql import check_sql
from preflight.staging import DataFile, Progress, Staged
from preflight.tokens import Lengths, Tokenizer, check_lengths, check_special_tokens, find_tokenizer
from preflight.trained import SeenToken, as_trained

MOST_ROWS = 50_000  # above this in all files together, lengths are those of a seeded sample; all else is over every row
SAMPLE = 10_000  # rows in that sample: the mean length is then known to about 1%
FEWEST = 1_000  # rows of each file in it


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The lengths of the rows of a config: one Lengths for each entry of `datasets` and of `test_datasets`."""

    train: tuple[Lengths, ...] = ()
    held_out: tuple[Lengths, ...] = ()
    tokenizer: str = ""  # where it comes from
    sql: Mapping[Path, float] = field(default_factory=dict)  # the share of each file's answers that PostgreSQL parses, where it was asked


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
    sql: dict[Path, float] = {}
    seen: dict[str, list[Seen]] = {"datasets": [], "test_datasets": [], "": []}
    total = sum(file.rows for file in known)
    for file in known:
        counting = tokenizer is not None and not reason and bool(file.key)
        share = min(1.0, max(SAMPLE / total, FEWEST / max(1, file.rows))) if total > MOST_ROWS else 1.0
        stretch = Stretch(path=file.path, shape=file.shape, share=share, values=values if counting else None)
        look = look_through(stretch, tokenizer, base_model, progress)
        seen[file.key.partition(".")[0]].append(look.seen)
        findings += _check(file, look, tokenizer)
        sql |= {file.path: 1 - look.not_sql / look.parsed} if look.parsed else {}
        if counting:
            lengths[file.key] = Lengths(path=file.path, rows=file.rows, measured=tuple(look.measured), sampled=share < 1)
            findings += check_lengths(lengths[file.key], file.shape, values)
    findings += check_duplicates([*seen["datasets"], *seen["test_datasets"]])
    findings += check_leakage(seen["datasets"], [*seen["test_datasets"], *seen[""]])
    if reason or tokenizer is None:
        skipped = (
            [Finding(code="internal.skipped", level="info", message=f"steps were not counted: {reason}")] if reason and reason != MISSING else []
        )
        return Counted(sql=sql), findings + skipped
    train, held_out = (tuple(lengths[key] for key in entries if key.startswith(f"{name}.")) for name in ("datasets", "test_datasets"))
    return Counted(train=train, held_out=held_out, tokenizer=tokenizer.source, sql=sql), findings


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One row as the trainer sees it."""

    path: Path
    line: int
    tokens: tuple[SeenToken, ...]


def show_example(values: Mapping[str, Any], files: Sequence[DataFile], staged: Sequence[Staged], line: int) -> tuple[Shown | None, list[Finding]]:
    """The row that stands in this line of the first training file, or why it can't be shown. Raises OSError."""
    entries = {f"datasets.{i}": entry for i, entry in enumerate(values.get("datasets") or ()) if isinstance(entry, Mapping)}
    file = next((file for file in _known(entries, files, staged) if file.key), None)
    base_model = str(values.get("base_model") or "")
    tokenizer = find_tokenizer(base_model)
    if file is None or tokenizer is None:
        reason = f"the tokenizer of {base_model} is not on this machine" if file else "there are no rows to take it from"
        return None, [Finding(code="internal.skipped", level="info", message=f"no example is shown: {reason}")]
    row = next((row for row in read_rows(file.path, file.shape) if row.line >= line), None)
    if row is None or row.line > line or row.problem:
        reason = row.problem if row and row.line == line else "there is no row"
        return None, [Finding(code="internal.skipped", level="info", where=f"{file.path}:{line}", message=f"no example is shown: {reason}")]
    return Shown(path=file.path, line=line, tokens=tuple(as_trained(row, file.shape, values, tokenizer))), []


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


def _check(file: File, look: Look, tokenizer: Tokenizer | None) -> list[Finding]:
    """What is wrong with the rows of a file, each by itself."""
    findings = check_rows(file.path, look.problems, look.bad) + check_near_empty(file.path, look.near_empty)
    if tokenizer:
        findings += check_special_tokens(file.path, look.bos, tokenizer.bos, "at the start of the text, so it would stand there twice")
        findings += check_special_tokens(file.path, look.eos, tokenizer.eos, "in the middle of the text, which teaches to stop there")
    return findings + check_sql(file.path, look.parsed, look.refused, look.not_sql)
