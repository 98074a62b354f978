"""Judge the rows of a config, from one scan of each file: what is wrong with them, what repeats, and how long they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preflight.config.values import dataset_entries
from preflight.data.duplicates import RowDigests, check_answers, check_duplicates, check_leakage, check_test
from preflight.data.lengths import Lengths, check_ends, check_known, check_lengths, check_special_tokens
from preflight.data.preview import Preview, tokenize_with_loss_mask
from preflight.data.prompt_strategies import BadRowError, Remark
from preflight.data.row_files import (
    MISSING,
    UNJUDGED,
    RowFile,
    check_formats,
    check_taken,
    check_types,
    cut_lengths,
    joined,
    known_files,
    taken_rows,
    why_not_counted,
)
from preflight.data.rows import check_asked, check_near_empty, check_rows, read_rows
from preflight.data.scan import Chunk, FileScan, scan_file
from preflight.data.sql import check_odd, check_sql
from preflight.data.sql_runs import Asked
from preflight.data.staging import DataFile, Staged
from preflight.data.tokenizer import Tokenizer, find_tokenizer
from preflight.files import Progress
from preflight.findings import Finding

MOST_ROWS = 50_000  # above this in all files together, a seeded sample is tokenised, and run on PostgreSQL; all else is over every row
SAMPLE = 10_000  # rows in that sample: the mean length is then known to about 1%
FEWEST = 1_000  # rows of each file in it


@dataclass(frozen=True, kw_only=True)
class DatasetLengths:
    """The lengths of the rows of a config: one Lengths for each entry of `datasets` and of `test_datasets`."""

    train: tuple[Lengths, ...] = ()
    held_out: tuple[Lengths, ...] = ()
    tokenizer: str = ""  # where it comes from
    sql: Mapping[Path, float] = field(default_factory=dict)  # the share of each file's answers that PostgreSQL parses, where it was asked

    asked: Mapping[Path, Sequence[Asked]] = field(default_factory=dict)  # answers to be run on the tables of their prompts
    answers: Mapping[Path, tuple[int, int]] = field(default_factory=dict)  # of each file, how many PostgreSQL parses, asked or not, and how many not

    @property
    def train_tokens(self) -> int:
        """Tokens in an epoch."""
        return sum(lengths.tokens for lengths in self.train)


def audit_rows(
    values: Mapping[str, Any], files: Sequence[DataFile], staged: Sequence[Staged], progress: Progress
) -> tuple[DatasetLengths, list[Finding]]:
    """The lengths of all rows, read where they were staged, and all that is wrong with them. Raises OSError."""
    entries = dict(dataset_entries(values))
    known = list(known_files(entries, values, files, staged))
    base_model = str(values.get("base_model") or "")
    tokenizer = find_tokenizer(base_model, values) if known else None
    reason = why_not_counted(entries, values, files, known, tokenizer, base_model)
    findings = check_types(entries, values, files) + check_formats(files, staged)
    lengths: dict[str, list[Lengths]] = {}
    chunks: dict[RowFile, Chunk] = {}
    scans: dict[RowFile, FileScan] = {}
    total = sum(file.rows for file in known)
    for file in known:
        unknown = check_known(file.strategy, values, tokenizer, file.key)
        findings += unknown
        counted = bool(tokenizer and file.key and not reason and not unknown)
        share = share_measured(total, file.rows)
        chunk = Chunk(path=file.path, kind=file.kind, strategy=file.strategy, share=share, values=values, measured=counted)
        chunks[file] = chunk
        scans[file] = scan_file(chunk, tokenizer, base_model, progress)
        findings += check_file(file.path, scans[file], tokenizer)
    taken = taken_rows({file: scan.rows for file, scan in scans.items()})
    findings += check_taken(entries, taken)
    for file, scan in scans.items():
        if file.cuts:
            scan.digests, scan.measured = scan.digests.cut(taken[file]), cut_lengths(scan.measured, taken[file], scan.rows)
        if chunks[file].measured:
            rows = sum(end - start for start, end in taken[file])
            found = Lengths(path=file.path, rows=rows, measured=tuple(scan.measured), sampled=chunks[file].share < 1)
            findings += check_lengths(found, file.strategy, values) + check_ends(found, file.key, entries[file.key])
            lengths.setdefault(file.key, []).append(found)
    findings = _once(findings) + check_overlap([(file.group, scan.digests) for file, scan in scans.items()])
    sql = {file.path: 1 - scan.not_sql / scan.parsed for file, scan in scans.items() if scan.parsed}
    said = DatasetLengths(
        sql=sql,
        asked={file.path: scan.asked for file, scan in scans.items() if scan.asked},
        answers={file.path: scan.answers for file, scan in scans.items()},
    )
    if reason or tokenizer is None or any(key not in lengths for key in entries):
        return said, findings + ([_skipped(f"steps were not counted: {reason}")] if reason not in ("", MISSING, UNJUDGED) else [])
    train, held_out = (tuple(joined(lengths[key]) for key in entries if key.startswith(f"{name}.")) for name in ("datasets", "test_datasets"))
    return replace(said, train=train, held_out=held_out, tokenizer=tokenizer.source), findings


def share_measured(total: int, rows: int) -> float:
    """The share of a file's rows that is measured, where there are so many in all files together."""
    return min(1.0, max(SAMPLE / total, FEWEST / max(1, rows))) if total > MOST_ROWS else 1.0


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, none twice, of `data.wrong-columns` only the first with each fix: one config reads all files."""
    findings = list(dict.fromkeys(findings))  # two entries may read one file
    first = {one.fix: one for one in reversed(findings) if one.code == "data.wrong-columns"}
    return [one for one in findings if one.code != "data.wrong-columns" or first[one.fix] is one]


def check_file(path: Path, scan: FileScan, tokenizer: Tokenizer | None) -> list[Finding]:
    """What is wrong with the rows of a file, each by itself."""
    findings = check_rows(path, scan.problems, scan.bad, scan.rows) + check_near_empty(path, scan.near_empty)
    findings += check_asked(path, scan.unasked, scan.rows - scan.bad) + check_odd(path, scan.odd)
    if tokenizer:
        bos, eos = tokenizer.bos, tokenizer.eos
        findings += check_special_tokens(path, scan.bos, bos, "written out, so it would be there twice")
        findings += check_special_tokens(
            path, scan.eos, eos, "where no answer ends, or as well as the one that training adds: both teach to stop there"
        )
        findings += check_special_tokens(path, scan.between, eos, "between turns: all of the text is trained, and these too", "warning")
    findings += check_remarks(path, scan.remarks, scan.rows - scan.bad)
    return findings + check_sql(path, scan.parsed, scan.refused, scan.not_sql)


def check_remarks(path: Path, remarks: Mapping[Remark, Sequence[int]], rows: int) -> list[Finding]:
    """What the strategy of a file remarked of its rows."""
    return [
        Finding(code=remark.code, level=remark.level, where=f"{path}:{line}", message=remark.message.format(count=count, rows=rows), fix=remark.fix)
        for remark, (count, line) in remarks.items()
        if not (remark.mixed and count == rows)
    ]


def check_overlap(files: Sequence[tuple[str, RowDigests]]) -> list[Finding]:
    """What repeats within a file, and what is trained on and held out; of each file its group, as RowFile has it, and its digests."""
    train, validation, test = ([found for group, found in files if group == name] for name in ("datasets", "test_datasets", ""))
    findings = check_duplicates([*train, *validation], test) + check_answers(train)
    return findings + check_leakage(train, [*validation, *test]) + check_test(validation, test)


def show_example(values: Mapping[str, Any], files: Sequence[DataFile], staged: Sequence[Staged], line: int) -> tuple[Preview | None, list[Finding]]:
    """The row in this line of the first training file, or why it can't be shown. Raises OSError."""
    file = next((file for file in known_files(dict(dataset_entries(values, "datasets")), values, files, staged) if file.key), None)
    base_model = str(values.get("base_model") or "")
    tokenizer = find_tokenizer(base_model, values)
    if file is None or tokenizer is None:
        reason = f"the tokenizer of {base_model} is not on this machine" if file else "there are no rows to take it from"
        return None, [_skipped(f"no example is shown: {reason}")]
    if unjudged := file.strategy.refusal(values, tokenizer) or file.strategy.unjudged(values, tokenizer):
        return None, [_skipped(f"no example is shown: {unjudged}")]
    row = next((row for row in read_rows(file.path, file.strategy, kind=file.kind) if row.line >= line), None)
    if row is None or row.line > line or row.problem:
        reason = row.problem if row and row.line == line else "there is no row"
        return None, [_skipped(f"no example is shown: {reason}", f"{file.path}:{line}")]
    try:
        tokens = tokenize_with_loss_mask(row, file.strategy, values, tokenizer)
    except BadRowError as problem:
        return None, [_skipped(f"no example is shown: {problem}", f"{file.path}:{line}")]
    return Preview(path=file.path, line=line, tokens=tuple(tokens)), []


def _skipped(message: str, where: str = "") -> Finding:
    return Finding(code="internal.skipped", level="info", where=where, message=message)
