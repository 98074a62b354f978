"""One row as the trainer sees it, token by token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.config import sequence_len
from preflight.rows import Row, Shape
from preflight.tokens import Token, Tokenizer, prompt_and_answer, rendered


@dataclass(frozen=True, kw_only=True)
class SeenToken:
    """A token of a row: its number, its text, and whether it has loss."""

    id: int
    text: str
    trained: bool


NOTHING = (0, 0)  # a span that no token reaches into


def as_trained(row: Row, shape: Shape, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[SeenToken]:
    """The tokens that Axolotl 0.19 makes of a row before it is cut into sequences (prompt_strategies, prompt_tokenizers.py)."""
    everything, limit = shape.kind == "text" or bool(values.get("train_on_inputs")), sequence_len(values)
    bos = [SeenToken(id=tokenizer.bos_id, text=tokenizer.bos, trained=everything)] if tokenizer.bos_id is not None else []
    eos = [SeenToken(id=tokenizer.eos_id, text=tokenizer.eos, trained=True)] if tokenizer.eos_id is not None else []
    if shape.kind == "text":
        tokens = _tokens(row.text, tokenizer)
        return [*bos, *tokens, *(eos if not tokens or tokens[-1].id != tokenizer.eos_id else [])]
    if shape.kind == "instruction":  # prompt and answer are tokenised apart, each cut at `limit`
        prompt, answer = prompt_and_answer(row, shape)
        asked = [*bos, *_tokens(prompt, tokenizer, None if everything else [NOTHING])][:limit]
        answered = _tokens(answer, tokenizer)[: limit - len(bos)]
        return [*asked, *answered, *(eos if len(bos) + len(answered) < limit else [])]
    text, answers = "", list[tuple[int, int]]()
    for role, content in row.messages:
        turn = rendered([(role, content)], tokenizer.eos)
        if role == "assistant":
            answers.append((len(text) + 1, len(text) + len(turn)))  # after the space, up to and with the EOS
        text += turn
    return [*bos, *_tokens(text, tokenizer, None if everything else answers)]


def _tokens(text: str, tokenizer: Tokenizer, spans: Sequence[tuple[int, int]] | None = None) -> list[SeenToken]:
    """The tokens of a text. Those that reach into one of the spans have loss; with None, all have."""

    def trained(token: Token) -> bool:
        return spans is None or any(token.end > start and token.start < end for start, end in spans)

    return [SeenToken(id=token.id, text=text[token.start : token.end], trained=trained(token)) for token in tokenizer.encode(text)]
