"""`type: completion`: one text, trained on as a whole, split where it is longer than a sequence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.config.values import sequence_len
from preflight.data.prompt_strategies.base import SHORTEST, TEXT_SCHEMA, Piece, Reproduced, Row, Typed, first_part, object_schema, text
from preflight.data.tokenizer import Tokenizer

LONGEST = 64  # Axolotl cuts a row at this many sequences (prompt_strategies/completion.py)
# what ends the question: the markups of Mistral, Alpaca, ChatML and Zephyr, and the usual ones for SQL
MARKERS = ("[/INST]", "### Response:", "<|im_start|>assistant", "<|assistant|>", "### SQL:", "### Answer:")
# what ends an answer: the tokens that end a text or a turn of the usual models
ENDS = ("</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<end_of_turn>", "<eos>")


def without_end(answer: str) -> str:
    """An answer without the end tokens that its row writes out."""
    bare = answer.rstrip()
    while end := next((end for end in ENDS if bare.endswith(end)), ""):
        answer = bare = bare.removesuffix(end).rstrip()
    return answer


@dataclass(frozen=True, kw_only=True)
class Completion(Reproduced):
    """The text under `field`."""

    field: str
    typical: ClassVar[Mapping[str, Any] | None] = {"type": "completion"}

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        return cls(field=str(entry.get("field") or "text")) if first_part(entry) == "completion" else None

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.field,)

    @property
    def schema(self) -> Mapping[str, Any]:
        return object_schema({self.field: TEXT_SCHEMA})

    @property
    def writes_markup(self) -> bool:
        return True

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        return Row(line=line, text=text(values, self.field))

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        for marker in MARKERS:
            question, found, answer = row.text.rpartition(marker)
            if found:
                return question + found, answer
        return "", row.text

    def typed(self, row: Row, tokenizer: Tokenizer) -> Typed:
        question, answer = self.question_and_answer(row)
        bos = bool(tokenizer.bos) and row.text.lstrip().startswith(tokenizer.bos)
        if not tokenizer.eos:
            return Typed(bos=bos)
        between = tokenizer.eos in question
        several = any(question.count(marker) > 1 for marker in MARKERS)
        return Typed(bos=bos, eos=tokenizer.eos in answer.removesuffix(tokenizer.eos) or (between and not several), between=between and several)

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        question, _ = self.question_and_answer(row)
        answer = (len(question), len(row.text)) if question else None
        return [Piece(row.text, True, bos=tokenizer.adds_bos, eos=True, room=LONGEST * sequence_len(values), answer=answer)]

    def fit(self, length: int, values: Mapping[str, Any]) -> tuple[int, ...]:
        limit = sequence_len(values)
        parts = [limit] * (length // limit) + [length % limit]
        return tuple(part for part in parts if part >= SHORTEST)

    def fate(self, values: Mapping[str, Any]) -> str:
        return "split across sequences, which separates answers from their questions"
