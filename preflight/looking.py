"""Look through a file of rows once, stretch by stretch, on every core where the file is large."""

import concurrent.futures
import multiprocessing
import os
import random
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preflight.overlap import Seen
from preflight.rows import SHOWN, Row, Shape, question_and_answer, read_rows, split
from preflight.sql import Refuse, find_parser
from preflight.staging import Progress
from preflight.tokens import Measured, Tokenizer, find_tokenizer, measure

STRETCH = 2 << 20  # bytes of a file that are looked through at once: a second of work with a tokenizer
SHARED = 16 << 20  # from this size on, several processes share a file: starting them takes half a second
BATCH = 500  # rows tokenised at once: enough for every core, little enough to hold
NEAR_EMPTY = 6  # characters; "SELECT" alone has as many


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of a file, and what is measured of its rows."""

    path: Path
    shape: Shape
    start: int = 0  # bytes
    end: int | None = None
    line: int = 0  # lines before it
    share: float = 1.0  # of the rows, chosen by a seed, that are measured and parsed
    values: Mapping[str, Any] | None = None  # the config whose sequences are measured; None: no row is measured


@dataclass(kw_only=True)
class Look:
    """What was seen in the rows of a file, or of a stretch of it."""

    seen: Seen
    end: int = 0  # bytes
    rows: int = 0
    bad: int = 0
    problems: list[Row] = field(default_factory=list)  # the first SHOWN of the bad rows
    measured: list[Measured] = field(default_factory=list)
    bos: list[int] = field(default_factory=list)  # lines of texts that begin with a BOS written out
    eos: list[int] = field(default_factory=list)  # lines of texts that have an EOS before their end
    near_empty: list[int] = field(default_factory=list)  # lines of answers that say nothing
    parsed: int = 0  # answers that went through the SQL parser
    not_sql: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)  # (line, why) of the first SHOWN that it refused

    def extend(self, later: "Look") -> None:
        """Add what was seen in the rows that follow."""
        self.seen.extend(later.seen)
        self.problems += later.problems[: SHOWN - len(self.problems)]
        self.refused += later.refused[: SHOWN - len(self.refused)]
        for name in ("measured", "bos", "eos", "near_empty"):
            getattr(self, name).extend(getattr(later, name))
        for name in ("rows", "bad", "parsed", "not_sql"):
            setattr(self, name, getattr(self, name) + getattr(later, name))


def look_through(whole: Stretch, tokenizer: Tokenizer | None, base_model: str, progress: Progress) -> Look:
    """What stands in a file, row by row. Raises OSError."""
    stretches = (replace(whole, start=start, end=end, line=line) for start, end, line in split(whole.path, STRETCH))
    total, workers = whole.path.stat().st_size, os.cpu_count() or 1
    if total < SHARED or workers == 1:
        refuse = find_parser()
        looks: Iterator[Look] = (look_at(stretch, tokenizer, refuse) for stretch in stretches)
    else:
        looks = _shared(stretches, base_model if tokenizer else "", workers)
    seen = Look(seen=Seen(path=whole.path))
    for look in looks:
        seen.extend(look)
        progress(f"looking through {whole.path.name}", look.end, total)
    return seen


def look_at(stretch: Stretch, tokenizer: Tokenizer | None, refuse: Refuse | None) -> Look:
    """What stands in one stretch."""
    look = Look(seen=Seen(path=stretch.path), end=stretch.end or 0)
    chosen = random.Random(stretch.start)  # noqa: S311
    batch: list[Row] = []
    for row in read_rows(stretch.path, stretch.shape, stretch.start, stretch.end, stretch.line):
        look.rows += 1
        if row.problem:
            look.bad += 1
            if len(look.problems) < SHOWN:
                look.problems.append(row)
            continue
        question, answer = question_and_answer(row)
        look.seen.add(row.line, question, answer)
        if tokenizer and stretch.shape.kind == "text":
            answer = answer.removesuffix(tokenizer.eos)
            if tokenizer.bos and row.text.startswith(tokenizer.bos):
                look.bos.append(row.line)
            if tokenizer.eos and (tokenizer.eos in answer or tokenizer.eos in question):
                look.eos.append(row.line)
        if question and len(answer.strip()) < NEAR_EMPTY:
            look.near_empty.append(row.line)
        if stretch.share == 1 or chosen.random() < stretch.share:
            batch.append(row)
            if refuse and question:
                look.parsed += 1
                if why := refuse(answer):
                    look.not_sql += 1
                    look.refused += [(row.line, why)] if len(look.refused) < SHOWN else []
        if len(batch) == BATCH:
            look.measured += _measured(batch, stretch, tokenizer)
            batch = []
    look.measured += _measured(batch, stretch, tokenizer)
    return look


def _measured(rows: Sequence[Row], stretch: Stretch, tokenizer: Tokenizer | None) -> list[Measured]:
    return measure(rows, stretch.shape, stretch.values, tokenizer) if rows and tokenizer and stretch.values is not None else []


def _shared(stretches: Iterable[Stretch], base_model: str, workers: int) -> Iterator[Look]:
    """What stands in each stretch, in order, looked at by several processes: new ones, since a fork beside threads may hang."""
    pool = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (base_model,))
    try:
        yield from pool.map(_work, stretches)
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker:
    """What a worker process loads once."""

    tokenizer: Tokenizer | None = None
    refuse: Refuse | None = None


def _start(base_model: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    _Worker.tokenizer, _Worker.refuse = find_tokenizer(base_model) if base_model else None, find_parser()


def _work(stretch: Stretch) -> Look:
    return look_at(stretch, _Worker.tokenizer, _Worker.refuse)
