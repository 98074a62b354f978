"""One row as the trainer sees it, token by token, and what of it is asked of the trained model."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preflight.data.prompt_strategies import Piece, PromptStrategy, Row
from preflight.data.tokenizer import Tokenizer
from preflight.findings import to_plain


@dataclass(frozen=True, kw_only=True)
class SeenToken:
    """A token of a row: its number, its text, and whether it has loss."""

    id: int
    text: str
    trained: bool


@dataclass(frozen=True, kw_only=True)
class Preview:
    """One row as the trainer sees it."""

    path: Path
    line: int
    tokens: tuple[SeenToken, ...]

    def as_json(self) -> dict[str, object]:
        plain: dict[str, object] = to_plain(asdict(self))
        return plain


def tokenize_with_loss_mask(row: Row, strategy: PromptStrategy, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[SeenToken]:
    """The tokens that the pinned Axolotl makes of a row before it is cut into sequences."""
    return [token for piece in strategy.pieces(row, values, tokenizer) for token in _tokens(piece, tokenizer)]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a trained model is asked: the tokens that training showed up to the answer, and the answer as the row writes it."""

    tokens: tuple[int, ...]
    answer: str


def find_prompt(row: Row, strategy: PromptStrategy, values: Mapping[str, Any], tokenizer: Tokenizer) -> Prompt | None:
    """The prompt of a row, or None for a row that asks nothing. Raises BadRowError.

    A token that holds the end of the question and the beginning of the answer belongs to the answer: the model has to write it.
    """
    seen: list[int] = []
    for piece in strategy.pieces(row, values, tokenizer):
        if piece.answer is None:
            seen += [token.id for token in _tokens(piece, tokenizer)]
            continue
        start, end = piece.answer
        (encoded,) = tokenizer.encode([piece.text])
        before = bisect_right(encoded.offsets, start, key=lambda place: place[1])
        bos = [tokenizer.bos_id] if piece.bos and tokenizer.bos_id is not None else []
        tokens = (*seen, *bos, *encoded.ids[:before])
        return Prompt(tokens=tokens, answer=piece.text[start:end]) if tokens else None
    return None


def _tokens(piece: Piece, tokenizer: Tokenizer) -> list[SeenToken]:
    """The tokens of a piece."""
    (encoded,) = tokenizer.encode([piece.text])
    whole = piece.trained is True
    mask = [whole] * len(encoded.ids) if isinstance(piece.trained, bool) else piece.trained.of(encoded)
    following = [*(start for start, _ in encoded.offsets[1:]), len(piece.text)]
    # several tokens may share a character, which is shown with the last of them
    texts = [piece.text[start : min(end, max(start, later))] for (start, end), later in zip(encoded.offsets, following, strict=False)]
    bos = [SeenToken(id=tokenizer.bos_id, text=tokenizer.bos, trained=whole)] if piece.bos and tokenizer.bos_id is not None else []
    found = [SeenToken(id=id, text=text, trained=trained) for id, text, trained in zip(encoded.ids, texts, mask, strict=True)]
    ended = bool(found) and found[-1].id == tokenizer.eos_id
    end = piece.trained is not False  # of a text that is trained in part it is the answer's
    eos = [SeenToken(id=tokenizer.eos_id, text=tokenizer.eos, trained=end)] if piece.eos and tokenizer.eos_id is not None and not ended else []
    return [*bos, *found, *eos][: piece.room]
