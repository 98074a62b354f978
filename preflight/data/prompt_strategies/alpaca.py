"""`type: alpaca` and its kin: an instruction, perhaps an input, and an output, in one of Axolotl's two styles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.data.prompt_strategies.base import (
    OPTIONAL_TEXT_SCHEMA,
    TEXT_SCHEMA,
    Piece,
    Row,
    WholeRows,
    object_schema,
    optional_text,
    prompt_pieces,
    question_and_last,
    text,
)
from preflight.data.tokenizer import Tokenizer

BELOW = "Below is an instruction that describes a task{paired}. Write a response that appropriately completes the request."
PAIRED = ", paired with an input that provides further context"
# type -> (before it all, an instruction with an input, one without): prompters.py and prompt_strategies/alpaca_*.py of axolotl 0.19
INSTRUCT = (
    f"{BELOW}\n\n",
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
    "### Instruction:\n{instruction}\n\n### Response:\n",
)
CHAT = (f"SYSTEM: {BELOW}\n", "USER: {instruction}\n{input}\nASSISTANT:", "USER: {instruction}\nASSISTANT:")
STYLES: Mapping[str, tuple[str, str, str]] = {
    "alpaca": INSTRUCT,
    "alpaca_instruct": INSTRUCT,
    "alpaca_instruct.load_no_prompt": ("", *INSTRUCT[1:]),
    "alpaca_chat": CHAT,
    "alpaca_chat.load_no_prompt": ("", *CHAT[1:]),
}


@dataclass(frozen=True, kw_only=True)
class Alpaca(WholeRows):
    """An instruction in the style of this `type`."""

    style: str
    conversation: bool = False  # the entry's own name of a style, which is not reproduced
    typical: ClassVar[Mapping[str, Any] | None] = {"type": "alpaca"}

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        kind = entry.get("type")
        return cls(style=kind, conversation=bool(entry.get("conversation"))) if isinstance(kind, str) and kind in STYLES else None

    @property
    def columns(self) -> tuple[str, ...]:
        return ("instruction", "output")

    @property
    def schema(self) -> Mapping[str, Any]:
        return object_schema({"instruction": TEXT_SCHEMA, "output": TEXT_SCHEMA}, {"input": OPTIONAL_TEXT_SCHEMA})

    @property
    def writes_markup(self) -> bool:
        return False

    def unjudged(self, values: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> str:
        return "the style that conversation names is not reproduced here" if self.conversation else ""

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        question, answer = text(values, "instruction"), text(values, "output")
        return Row(line=line, turns=(("user", question), ("input", optional_text(values, "input")), ("assistant", answer)))

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        return question_and_last(row.turns)

    def _prompt_and_answer(self, row: Row) -> tuple[str, str]:
        (_, instruction), (_, more), (_, answer) = row.turns
        before, paired, alone = STYLES[self.style]
        prompt = before.format(paired=PAIRED if more else "") + (paired if more else alone).format(instruction=instruction, input=more)
        return prompt, answer

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        return prompt_pieces(*self._prompt_and_answer(row), values, tokenizer)
