"""Lengths of the rows in tokens, as the pinned Axolotl makes them."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from preflight.config.values import sequence_len
from preflight.data.prompt_strategies import Piece, PromptStrategy, Row
from preflight.data.prompt_strategies.base import excess_strategy
from preflight.data.tokenizer import Tokenizer
from preflight.findings import Finding


class RowLength(NamedTuple):
    """One row in tokens: all of them, those with loss, and the lengths of the sequences that training makes of it (none if it
    is dropped)."""

    tokens: int
    trained: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The good rows of one file in tokens, or a sample of them."""

    path: Path
    rows: int  # in the file
    measured: tuple[RowLength, ...]
    sampled: bool = False
    unjudged: str = ""  # why the tokens are not exactly those of the trainer, or ''

    def quantile(self, share: float) -> int:
        """The length that this share of the rows does not pass; 0 without rows."""
        ordered = sorted(row.tokens for row in self.measured)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0

    @property
    def histogram(self) -> tuple[tuple[int, int], ...]:
        """(most tokens, rows of so many and of more than half as many), from the shortest to the longest; powers of two."""
        counts = Counter(1 << max(0, row.tokens - 1).bit_length() for row in self.measured)
        most = [1 << power for power in range(min(counts).bit_length() - 1, max(counts).bit_length())] if counts else []
        return tuple((tokens, round(self.scale * counts[tokens])) for tokens in most)

    @property
    def scale(self) -> float:
        """Rows in the file for each that was counted."""
        return self.rows / len(self.measured) if self.sampled and self.measured else 1.0

    @property
    def tokens(self) -> int:
        """Tokens that are trained on or read in an epoch."""
        return round(self.scale * sum(itertools.chain(*(row.sequences for row in self.measured))))


def measure(rows: Sequence[Row], strategy: PromptStrategy, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[RowLength]:
    """The length of each row. All texts of the rows are counted in one batch."""
    made = [strategy.pieces(row, values, tokenizer) for row in rows]
    counts = iter(tokenizer.count([text for pieces in made for piece in pieces for text in _texts(piece)]))
    found = []
    for pieces in made:
        sizes = [_size(piece, counts, tokenizer) for piece in pieces]
        tokens, trained = sum(size for size, _ in sizes), sum(loss for _, loss in sizes)
        sequences = strategy.fit(tokens, values)
        found.append(RowLength(tokens=tokens, trained=min(trained, sum(sequences)) if sequences else 0, sequences=sequences))
    return found


def _texts(piece: Piece) -> Iterator[str]:
    """The texts whose tokens have to be counted: the piece, and the spans of it that have loss."""
    yield piece.text
    if not isinstance(piece.trained, bool):
        yield from (piece.text[start:end] for start, end in piece.trained)


def _size(piece: Piece, counts: Iterator[int], tokenizer: Tokenizer) -> tuple[int, int]:
    """(tokens, those with loss) of a piece, whose counts come next."""
    ends = piece.eos and tokenizer.eos_id is not None and not piece.text.endswith(tokenizer.eos)
    size = next(counts) + piece.bos + ends
    size = size if piece.room is None else min(size, piece.room)
    if isinstance(piece.trained, bool):
        return size, size if piece.trained else 0
    return size, sum(next(counts) for _ in piece.trained)


def check_lengths(measured: Lengths, strategy: PromptStrategy, values: Mapping[str, Any]) -> list[Finding]:
    """`data.too-long` where rows are longer than a sequence: what becomes of them, and what would keep them."""
    limit = sequence_len(values)
    long = sum(row.tokens > limit for row in measured.measured)
    if not long:
        return []
    count = f"{'about ' if measured.sampled else ''}{round(long * measured.scale):,}"
    lost = "" if excess_strategy(values) == "raise" else f": {count} answers are lost"
    return [
        Finding(
            code="data.too-long",
            level="warning",
            where=str(measured.path),
            message=f"{count} of {measured.rows:,} rows are longer than sequence_len {limit:,} and are {strategy.fate(values)}{lost}",
            fix=f"sequence_len: {measured.quantile(0.99):,} keeps 99% of the rows complete, {measured.quantile(1):,} all of them; "
            "or shorten the schemas in the longest",
        )
    ]


def check_judged(measured: Lengths, where: str) -> list[Finding]:
    """`data.not-judged` where the trainer may make other tokens of the rows than were counted here."""
    if not measured.unjudged:
        return []
    message = f"lengths and steps are estimates: {measured.unjudged}"
    fix = "to know the exact numbers before a GPU waits for them, run the preprocess command of Axolotl on the resolved YAML on a CPU"
    return [Finding(code="data.not-judged", level="warning", where=where, message=message, fix=fix)]


def check_special_tokens(path: Path, written: Sequence[int], token: str, what: str) -> list[Finding]:
    """`data.special-tokens` for the lines where a special token is written out that the tokenizer adds as well."""
    if not written:
        return []
    message = f"{len(written):,} rows have {token} {what}; the first in line {written[0]:,}"
    fix = f"delete {token} from the text: training adds it"
    return [Finding(code="data.special-tokens", level="error", where=f"{path}:{written[0]}", message=message, fix=fix)]
