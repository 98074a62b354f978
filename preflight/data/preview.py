"""One row as the trainer sees it, token by token."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preflight.data.prompt_strategies import Piece, PromptStrategy, Row
from preflight.data.tokenizer import Token, Tokenizer
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


def _tokens(piece: Piece, tokenizer: Tokenizer) -> list[SeenToken]:
    """The tokens of a piece. Those that reach into one of its spans have loss."""

    def trained(token: Token) -> bool:
        if isinstance(piece.trained, bool):
            return piece.trained
        return any(token.end > start and token.start < end for start, end in piece.trained)

    whole = piece.trained is True
    bos = [SeenToken(id=tokenizer.bos_id, text=tokenizer.bos, trained=whole)] if piece.bos and tokenizer.bos_id is not None else []
    found = [SeenToken(id=token.id, text=piece.text[token.start : token.end], trained=trained(token)) for token in tokenizer.encode(piece.text)]
    ended = bool(found) and found[-1].id == tokenizer.eos_id
    eos = [SeenToken(id=tokenizer.eos_id, text=tokenizer.eos, trained=whole)] if piece.eos and tokenizer.eos_id is not None and not ended else []
    return [*bos, *found, *eos][: piece.room]
