"""Scan a file of rows once, chunk by chunk, on every core where the file is large."""

import concurrent.futures
import multiprocessing
import os
import random
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preflight.data import formats
from preflight.data.duplicates import RowDigests
from preflight.data.lengths import RowLength, measure_pieces
from preflight.data.prompt_strategies import BadRowError, Piece, PromptStrategy, Remark, Row
from preflight.data.prompt_strategies.completion import bare
from preflight.data.rows import SHOWN, Problems, read_rows, split
from preflight.data.sql import Refuse, find_parser, is_odd, says_nothing
from preflight.data.sql_runs import Asked
from preflight.data.tokenizer import Tokenizer, find_tokenizer, settings_of
from preflight.files import Progress
from preflight.postgres.ddl_text import Found, find_statements

CHUNK_BYTES = 2 << 20  # of a file that are scanned at once: a second of work with a tokenizer
SHARED = 16 << 20  # from this size on, several processes share a file: starting them takes half a second
BATCH = 500  # rows tokenised at once: enough for every core, little enough to hold


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A part of a file, and what is measured of its rows."""

    path: Path
    kind: str = "json"  # the format that it is read as
    strategy: PromptStrategy
    start: int = 0  # bytes
    end: int | None = None
    line: int = 0  # lines before it
    share: float = 1.0  # of the rows, chosen by a seed, that are measured
    values: Mapping[str, Any] = field(default_factory=dict)  # the config
    measured: bool = False  # whether its rows' tokens are counted


@dataclass(kw_only=True)
class FileScan:
    """What was found in the rows of a file, or of a chunk of it."""

    digests: RowDigests
    end: int = 0  # bytes
    rows: int = 0
    bad: int = 0
    problems: Problems = field(default_factory=Problems)
    measured: list[RowLength] = field(default_factory=list)
    bos: list[int] = field(default_factory=list)  # lines of texts that begin with a BOS written out
    eos: list[int] = field(default_factory=list)  # lines of texts that have an EOS before their end
    between: list[int] = field(default_factory=list)  # lines of texts that have one between their turns
    remarks: dict[Remark, list[int]] = field(default_factory=dict)  # (how many, the first line) of each
    near_empty: list[int] = field(default_factory=list)  # lines of answers that say nothing
    odd: list[int] = field(default_factory=list)  # lines of answers with characters that SQL can't hold
    unasked: list[int] = field(default_factory=list)  # lines of rows in which no answer is told from the rest
    parsed: int = 0  # answers that went through the SQL parser
    not_sql: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)  # (line, why) of the first SHOWN that it refused
    asked: list[Asked] = field(default_factory=list)  # of the rows that are measured, the answers that it took
    ddl: dict[Found, Found] = field(default_factory=dict)  # each once: many rows ask of the same tables

    @property
    def answers(self) -> tuple[int, int]:
        """(the answers that PostgreSQL parses, those that it does not)."""
        return self.parsed - self.not_sql, self.not_sql

    def extend(self, later: "FileScan") -> None:
        """Add what was found in the rows that follow."""
        self.digests.extend(later.digests)
        self.problems.extend(later.problems)
        self.refused += later.refused[: SHOWN - len(self.refused)]
        for name in ("measured", "bos", "eos", "between", "near_empty", "odd", "unasked"):
            getattr(self, name).extend(getattr(later, name))
        self.asked += [one._replace(ddl=self.ddl.setdefault(one.ddl, one.ddl)) for one in later.asked]
        for remark, (count, line) in later.remarks.items():
            self.remarks.setdefault(remark, [0, line])[0] += count
        for name in ("rows", "bad", "parsed", "not_sql"):
            setattr(self, name, getattr(self, name) + getattr(later, name))


def scan_file(whole: Chunk, tokenizer: Tokenizer | None, base_model: str, progress: Progress) -> FileScan:
    """What is in a file, row by row. Raises OSError."""
    lines = formats.is_seekable(whole.path, whole.kind)
    chunks = (replace(whole, start=start, end=end, line=line) for start, end, line in split(whole.path, CHUNK_BYTES)) if lines else [whole]
    total, workers = whole.path.stat().st_size, os.cpu_count() or 1
    if total < SHARED or workers == 1 or not lines:
        refuse = find_parser()
        scans: Iterator[FileScan] = (scan_chunk(chunk, tokenizer, refuse) for chunk in chunks)
    else:
        scans = _shared(chunks, (base_model if tokenizer else "", settings_of(whole.values)), workers)
    seen = FileScan(digests=RowDigests(path=whole.path))
    for scan in scans:
        seen.extend(scan)
        progress(f"scanning {whole.path.name}", scan.end, total)
    return seen


def scan_chunk(chunk: Chunk, tokenizer: Tokenizer | None, refuse: Refuse | None) -> FileScan:
    """What is in one chunk."""
    scan = FileScan(digests=RowDigests(path=chunk.path), end=chunk.end or 0)
    chosen = random.Random(chunk.start)  # noqa: S311
    batch: list[list[Piece]] = []
    for row in read_rows(chunk.path, chunk.strategy, chunk.start, chunk.end, chunk.line, chunk.kind):
        scan.rows += 1
        sampled = not row.problem and (chunk.share == 1 or chosen.random() < chunk.share)
        row, pieces = _looked_at(row, chunk, tokenizer, sampled)
        if row.problem:
            scan.bad += 1
            scan.problems.add(row)
            continue
        question, answer = _look(scan, row, chunk.strategy, tokenizer)
        if refuse and question:
            scan.parsed += 1
            if why := refuse(answer):
                scan.not_sql += 1
                scan.refused += [(row.line, why)] if len(scan.refused) < SHOWN else []
            elif sampled:
                found = find_statements(question)
                scan.asked.append(Asked(row.line, scan.ddl.setdefault(found, found), answer))
        batch += [pieces] if pieces else []
        if len(batch) == BATCH:
            scan.measured += _measured(batch, chunk, tokenizer)
            batch = []
    scan.measured += _measured(batch, chunk, tokenizer)
    return scan


def _looked_at(row: Row, chunk: Chunk, tokenizer: Tokenizer | None, sampled: bool) -> tuple[Row, list[Piece]]:
    """The row, with what is wrong with it in the trainer's eyes as well, and its pieces where it is measured."""
    if row.problem:
        return row, []
    try:
        if sampled and chunk.measured and tokenizer:
            return row, chunk.strategy.pieces(row, chunk.values, tokenizer)
        chunk.strategy.check(row, chunk.values, tokenizer)
    except BadRowError as problem:
        return Row(line=row.line, problem=str(problem)), []
    return row, []


def _look(scan: FileScan, row: Row, strategy: PromptStrategy, tokenizer: Tokenizer | None) -> tuple[str, str]:
    """The question and the answer of a row, after a look at both."""
    question, answer = strategy.question_and_answer(row)
    sql = bare(answer)
    for remark in strategy.remarks(row):
        scan.remarks.setdefault(remark, [0, row.line])[0] += 1
    scan.digests.add(row.line, question, sql)
    if tokenizer:
        for name, found in strategy.typed(row, tokenizer)._asdict().items():
            if found:
                getattr(scan, name).append(row.line)
    if not question:
        scan.unasked.append(row.line)
    elif says_nothing(sql):
        scan.near_empty.append(row.line)
    elif is_odd(sql):
        scan.odd.append(row.line)
    return question, sql


def _measured(made: Sequence[list[Piece]], chunk: Chunk, tokenizer: Tokenizer | None) -> list[RowLength]:
    return measure_pieces(made, chunk.strategy, chunk.values, tokenizer) if made and tokenizer else []


def _shared(chunks: Iterable[Chunk], named: tuple[str, Mapping[str, Any]], workers: int) -> Iterator[FileScan]:
    """What is in each chunk, in order, scanned by several processes: new ones, since a fork beside threads may hang."""
    pool = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, named)
    try:
        yield from pool.map(_work, chunks)
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker:
    """What a worker process loads once."""

    tokenizer: Tokenizer | None = None
    refuse: Refuse | None = None


def _start(base_model: str, settings: Mapping[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    _Worker.tokenizer, _Worker.refuse = find_tokenizer(base_model, settings) if base_model else None, find_parser()


def _work(chunk: Chunk) -> FileScan:
    return scan_chunk(chunk, _Worker.tokenizer, _Worker.refuse)
