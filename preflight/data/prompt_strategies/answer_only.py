"""`type: preflight.answer_only`: the texts of `type: completion`, tokenised as there, with loss on what follows the marker alone. The kit's own
(training/answer_only.py is the side that Axolotl imports)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.config.values import ANSWER_ONLY
from preflight.data.prompt_strategies.base import BadRowError, Piece, Row, WholeRows
from preflight.data.prompt_strategies.completion import Completion, without_end
from preflight.data.tokenizer import Encoded, Tokenizer


@dataclass(frozen=True, kw_only=True)
class AnswerMask:
    """Loss on each token that holds a character of the answer."""

    start: int  # of the answer in the text
    ends: frozenset[int]

    def of(self, found: Encoded) -> list[bool]:
        return [end > self.start for _, end in found.offsets]


@dataclass(frozen=True, kw_only=True)
class AnswerOnly(WholeRows, Completion):
    """The text under `field`; too long a one is not split, which would part its answer from its question."""

    typical: ClassVar[Mapping[str, Any] | None] = None

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        return cls(field=str(entry.get("field") or "text")) if entry.get("type") == ANSWER_ONLY else None

    def refusal(self, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> str:
        return f"answer_marker is not read by type {ANSWER_ONLY}: it splits at the usual markers" if values.get("answer_marker") else ""

    def check(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> None:
        """Raises BadRowError for a text of which nothing tells what the answer is."""
        question, answer = self.question_and_answer(row)
        if not question:
            raise BadRowError(f"{self.field} has no marker such as [/INST] that ends its question: type {ANSWER_ONLY} can't tell what is its answer")
        if not without_end(answer).strip():
            raise BadRowError(f"{self.field} has no answer behind its last marker")

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        self.check(row, values, tokenizer)
        start = len(self.question_and_answer(row)[0])
        ends = frozenset({tokenizer.eos_id} if tokenizer.eos_id is not None else ())
        trained = True if values.get("train_on_inputs") else AnswerMask(start=start, ends=ends)
        return [Piece(row.text, trained, bos=tokenizer.adds_bos, eos=True, answer=(start, len(row.text)))]
