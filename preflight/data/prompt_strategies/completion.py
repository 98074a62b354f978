"""`type: completion`: one text, trained on as a whole, split where it is longer than a sequence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.config.values import sequence_len
from preflight.data.prompt_strategies.base import SHORTEST, TEXT_SCHEMA, Piece, Reproduced, Row, Typed, first_part, object_schema, text
from preflight.data.tokenizer import Tokenizer

LONGEST = 64  # Axolotl cuts a row at this many sequences (prompt_strategies/completion.py)
INST = "[/INST]"
# what ends the question: the markups of Mistral, ChatML, Llama 3, Zephyr, Alpaca and SQLCoder, and the usual headings and labels
MARKER = re.compile(
    r"\[/INST\]|<\|im_start\|>assistant|<\|start_header_id\|>assistant<\|end_header_id\|>|<\|assistant\|>"
    r"|### ?(?:SQL(?: Query)?|Response|Answer|Assistant|Output)\b:?|^(?:SQL|Answer|A|Assistant):|^\[SQL\]",
    re.MULTILINE,
)
# what begins another turn, after the EOS that ends the one before: Zephyr ends the user's as well
TURN = re.compile(r"\s*(?:<s>\s*)?(?:\[INST\]|<\|(?:system|user|assistant)\|>|<\|im_start\|>|<\|start_header_id\|>)")
# what ends an answer: the tokens that end a text or a turn of the usual models
ENDS = ("</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<end_of_turn>", "<eos>", "[/SQL]")
FENCE = re.compile(r"\s*```(?:sql|postgres|postgresql)?[ \t]*\n?(.*?)\s*```\s*", re.DOTALL | re.IGNORECASE)


def without_end(answer: str) -> str:
    """An answer without the end tokens that its row writes out."""
    bare = answer.rstrip()
    while end := next((end for end in ENDS if bare.endswith(end)), ""):
        answer = bare = bare.removesuffix(end).rstrip()
    return answer


def bare(answer: str) -> str:
    """An answer without its end tokens and without the fence of Markdown around it: the SQL itself."""
    answer = without_end(answer)
    fenced = FENCE.fullmatch(answer) if "```" in answer else None
    return fenced[1] if fenced else answer


@dataclass(frozen=True, kw_only=True)
class Completion(Reproduced):
    """The text under `field`."""

    field: str
    marker: str = ""  # answer_marker of the config: what ends the question, where none of the usual markers does
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

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        return Row(line=line, text=text(values, self.field))

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        """Split at the last marker."""
        if self.marker and self.marker in row.text:
            question, _, answer = row.text.rpartition(self.marker)
            return question + self.marker, answer
        start = row.text.rfind(INST) + 1  # a quick look: what follows is short
        end = start and start + len(INST) - 1
        for found in MARKER.finditer(row.text, end):
            end = found.end()
        return row.text[:end], row.text[end:]

    def typed(self, row: Row, tokenizer: Tokenizer) -> Typed:
        question, answer = self.question_and_answer(row)
        bos = bool(tokenizer.bos) and row.text.lstrip().startswith(tokenizer.bos)
        if not tokenizer.eos:
            return Typed(bos=bos)
        turns = question.split(tokenizer.eos)[1:]
        between = bool(turns) and (all(map(TURN.match, turns)) or sum(1 for _ in MARKER.finditer(question)) > 1)
        return Typed(bos=bos, eos=tokenizer.eos in answer.removesuffix(tokenizer.eos) or (bool(turns) and not between), between=between)

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
