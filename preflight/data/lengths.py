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
from preflight.data.tokenizer import Encoded, Tokenizer
from preflight.findings import Finding, Level


class RowLength(NamedTuple):
    """One row in tokens: all of them, also past what training reads of it; those with loss, and the lengths of the sequences that training
    makes of it (none if it is dropped)."""

    tokens: int
    trained: int
    sequences: tuple[int, ...]
    ended: bool = True  # whether a token that ends an answer has loss
    lost: int = 0  # answers of which training sees no end


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The good rows of one file in tokens, or a sample of them."""

    path: Path
    rows: int  # in the file
    measured: tuple[RowLength, ...]
    sampled: bool = False

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
    """The length of each row. Raises BadRowError."""
    return measure_pieces([strategy.pieces(row, values, tokenizer) for row in rows], strategy, values, tokenizer)


def measure_pieces(made: Sequence[Sequence[Piece]], strategy: PromptStrategy, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[RowLength]:
    """The length of each row, of which these are the pieces. All texts are counted in one batch."""
    counts = iter(tokenizer.count([piece.text for pieces in made for piece in pieces if isinstance(piece.trained, bool)]))
    masked = iter(tokenizer.encode([piece.text for pieces in made for piece in pieces if not isinstance(piece.trained, bool)]))
    found = []
    for pieces in made:
        whole = [_count(piece, counts, masked, tokenizer) for piece in pieces]
        counted = [
            (size if piece.room is None else min(size, piece.room), mask, ends) for piece, (size, mask, ends) in zip(pieces, whole, strict=True)
        ]
        every, tokens = (sum(size for size, _, _ in one) for one in (whole, counted))
        trained = sum(_trained(mask, size) for size, mask, _ in counted)
        sequences = strategy.fit(tokens, values) if trained or not values.get("sample_packing") else ()
        kept = sum(sequences)
        if kept < tokens and kept:
            trained = _trained_of_first(counted, kept)
        lost = _answers_past(whole, kept) if kept < every else 0
        ended = any(ends for _, _, ends in counted)
        found.append(RowLength(tokens=every, trained=trained if sequences else 0, sequences=sequences, ended=ended, lost=lost))
    return found


def _answers_past(whole: Sequence[tuple[int, bool | list[bool], bool]], kept: int) -> int:
    """How many stretches of tokens with loss end behind the first `kept` tokens of a row."""
    flags = [flag for size, mask, _ in whole for flag in ([mask] * size if isinstance(mask, bool) else mask)]
    return sum(flag and not following for flag, following in zip(flags[kept:], [*flags[kept + 1 :], False], strict=True))


def _count(piece: Piece, counts: Iterator[int], masked: Iterator[Encoded], tokenizer: Tokenizer) -> tuple[int, bool | list[bool], bool]:
    """(tokens, which of them have loss, whether one of those ends the answer) of a piece, whose tokens come next; all of it, without its room."""
    if isinstance(piece.trained, bool):
        written = piece.text.endswith(tokenizer.eos) if tokenizer.eos else False
        ends = piece.eos and tokenizer.eos_id is not None and not written
        return next(counts) + piece.bos + ends, piece.trained, piece.trained and (ends or written)
    encoded = next(masked)
    mask = piece.trained.of(encoded)
    ids = piece.trained.ends
    adds = piece.eos and tokenizer.eos_id is not None and encoded.ids[-1:] != [tokenizer.eos_id]
    ended = adds or any(trained and id in ids for trained, id in zip(mask, encoded.ids, strict=True))
    mask = [*[False] * piece.bos, *mask, *[True] * adds]
    return len(mask), mask, ended


def _trained(mask: bool | list[bool], size: int) -> int:
    """Tokens with loss among the first `size` of a piece."""
    return size * mask if isinstance(mask, bool) else sum(mask[:size])


def _trained_of_first(counted: Sequence[tuple[int, bool | list[bool], bool]], limit: int) -> int:
    """Tokens with loss among the first `limit` of a row."""
    trained = 0
    for size, mask, _ in counted:
        trained += _trained(mask, min(size, limit))
        limit -= min(size, limit)
    return trained


def check_lengths(measured: Lengths, strategy: PromptStrategy, values: Mapping[str, Any]) -> list[Finding]:
    """`data.too-long` where rows are longer than a sequence: what becomes of them, and what would keep them."""
    limit = sequence_len(values)
    long = sum(row.tokens > limit for row in measured.measured)
    if not long:
        return []
    about = "about " if measured.sampled else ""
    count = f"{about}{round(long * measured.scale):,}"
    answers = round(sum(row.lost for row in measured.measured) * measured.scale)
    short = " or cut short" if excess_strategy(values) == "truncate" else ""
    lost = f": {about}{answers:,} answers are lost{short}" if answers and excess_strategy(values) != "raise" else ""
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


def check_known(strategy: PromptStrategy, values: Mapping[str, Any], tokenizer: Tokenizer | None, where: str) -> list[Finding]:
    """`config.chat-template` where the trainer stops before it reads a row, `data.not-judged` where its tokens can't be told here."""
    if refusal := strategy.refusal(values, tokenizer):
        message = f"Axolotl would stop before training: {refusal}"
        fix = "chat_template: one that the tokenizer's tokens fit, such as mistral_v1 for Mistral 7B v0.1"
        return [Finding(code="config.chat-template", level="error", where=where, message=message, fix=fix)]
    if unjudged := strategy.unjudged(values, tokenizer):
        return [not_judged(unjudged, where)]
    return []


def not_judged(why: str, where: str) -> Finding:
    """`data.not-judged`."""
    message = f"the tokens of the rows, and so the steps, can't be told here: {why}"
    fix = "to know them before a GPU waits for them, run the preprocess command of Axolotl on the resolved YAML on a CPU"
    return Finding(code="data.not-judged", level="warning", where=where, message=message, fix=fix)


def check_ends(measured: Lengths, where: str, entry: Mapping[str, Any]) -> list[Finding]:
    """`config.eos-untrained` where no row has loss on a token that ends an answer: the model would never stop."""
    trained = [row for row in measured.measured if row.trained]
    if not trained or any(row.ended for row in trained) or entry.get("train_on_eos") == "none" or where.startswith("test_"):
        return []
    message = "no answer ends with a token that has loss: nothing teaches the model where an answer ends, so it runs on"
    fix = "eot_tokens: [the token that the chat template ends a turn with], if the tokenizer has it, or a chat_template that ends turns with the EOS"
    return [Finding(code="config.eos-untrained", level="error", where=where, message=message, fix=fix)]


def check_special_tokens(path: Path, written: Sequence[int], token: str, what: str, level: Level = "error") -> list[Finding]:
    """`data.special-tokens` for the lines where a special token is written out that the tokenizer adds as well."""
    if not written:
        return []
    message = f"{len(written):,} rows have {token} {what}; the first in line {written[0]:,}"
    fix = f"delete {token} from the text: training adds it"
    return [Finding(code="data.special-tokens", level=level, where=f"{path}:{written[0]}", message=message, fix=fix)]
