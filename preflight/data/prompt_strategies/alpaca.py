"""`type: alpaca` and its kin: an instruction, perhaps an input or a system prompt, and an output, in one of Axolotl's styles."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from preflight.data.prompt_strategies.base import (
    OPTIONAL_TEXT_SCHEMA,
    TEXT_SCHEMA,
    Piece,
    Row,
    WholeRows,
    column,
    object_schema,
    optional_text,
    prompt_pieces,
    question_and_last,
    text,
)
from preflight.data.tokenizer import Tokenizer

BELOW = "Below is an instruction that describes a task{paired}. Write a response that appropriately completes the request."
CONCISE = "Below is an instruction{user} that describes a task{paired}. The ASSISTANT writes a response that {how} completes the request.\n\n"
PAIRED = ", paired with an input that provides further context"
INSTRUCTED = BELOW.format(paired=PAIRED), BELOW.format(paired="")
TOLD = (
    CONCISE.format(user=" from a USER", paired=PAIRED, how="concisely and appropriately"),
    CONCISE.format(user=" from a USER", paired="", how="appropriately and concisely"),
)
FROM_CONTEXT = ("Use the following contextual information to concisely answer the question.\n",) * 2


class Style(NamedTuple):
    """How a prompt is written: what is before it, an instruction with an input, and one without."""

    system: str
    paired: str
    alone: str


class Kind(NamedTuple):
    """What one `type` reads of a row, and how it writes it."""

    style: Style
    instruction: str = "{instruction}"  # of the columns in braces
    output: str = "{output}"
    input: str = "input"  # a column that a row may have; empty for a type that reads none
    told: tuple[str, str] = INSTRUCTED  # the type's own system prompt, with an input and without
    system: str = ""  # the column that holds the row's system prompt, in the place of the type's own


# prompters.py, prompt_tokenizers.py and prompt_strategies/{alpaca_*,context_qa}.py of axolotl 0.19
INSTRUCT = Style(
    "{system}\n\n", "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n", "### Instruction:\n{instruction}\n\n### Response:\n"
)
CHAT = Style("SYSTEM: {system}\n", "USER: {instruction}\n{input}\nASSISTANT:", "USER: {instruction}\nASSISTANT:")
CHATML = Style(
    "<|im_start|>system\n{system}<|im_end|>\n",
    "<|im_start|>user\n{instruction}\n{input}<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n",
)
PHI = Style("<|system|>\n{system}<|end|>\n", "<|user|>\n{instruction}<|end|>{input}<|assistant|>", "<|user|>\n{instruction}<|end|>\n<|assistant|>\n")
ORCA = Style(
    "### System:\n{system}\n",
    "### Human:\n{instruction}\n### Additional Context:\n{input}\n### Assistant:\n",
    "### Human:\n{instruction}\n### Assistant:\n",
)
BARE = Style("{system}", "{instruction}\n{input}", "{instruction}")
TLDR = Style("", *(f"USER: Summarize the following article as a TL;DR.\n{{instruction}}{more}\nASSISTANT:" for more in ("\n{input}", "")))
NAMED: Mapping[str, Style] = {"instruct": INSTRUCT, "chat": CHAT, "chatml": CHATML, "phi": PHI}
SILENT = ("", "")
STYLES: Mapping[str, Kind] = {
    "alpaca": Kind(INSTRUCT),
    **{f"alpaca:{name}": Kind(style) for name, style in NAMED.items()},
    "alpaca_instruct": Kind(INSTRUCT),
    "alpaca_instruct.load_no_prompt": Kind(INSTRUCT, told=SILENT),
    "alpaca_chat": Kind(CHAT),
    "alpaca_chat.load_no_prompt": Kind(CHAT, told=SILENT),
    "alpaca_chat.load_concise": Kind(CHAT, told=TOLD),
    "alpaca_chat.load_qa": Kind(CHAT, "{question}", "{answer}", "", TOLD),
    "alpaca_chat.load_camel_ai": Kind(CHAT, "{message_1}", "{message_2}", "", TOLD),
    "alpaca_w_system": Kind(CHAT, system="system"),
    "alpaca_w_system.load_chat": Kind(CHAT, system="system"),
    "alpaca_w_system.load_instruct": Kind(INSTRUCT, system="system"),
    "alpaca_w_system.load_open_orca": Kind(ORCA, "{question}", "{response}", "", system="system_prompt"),
    "alpaca_w_system.load_open_orca_chatml": Kind(CHATML, "{question}", "{response}", "", system="system_prompt"),
    "context_qa": Kind(CHAT, "{article}\n===\n{question}", "{answer}", "", FROM_CONTEXT),
    "context_qa.load_v2": Kind(BARE, "Context: {context}\nQuestion: {question}\n", "Answer: {answer}", "", SILENT),
    "gpteacher": Kind(INSTRUCT, output="{response}"),
    "oasst": Kind(INSTRUCT, "{INSTRUCTION}", "{RESPONSE}", ""),
    "summarizetldr": Kind(TLDR, "{article}", "{summary}", "", SILENT),
}


@dataclass(frozen=True, kw_only=True)
class Alpaca(WholeRows):
    """An instruction of this `type`."""

    style: str
    conversation: str = ""  # the entry's own name of a style
    typical: ClassVar[Mapping[str, Any] | None] = {"type": "alpaca"}

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        kind = entry.get("type")
        named = str(kind).removesuffix(".load")
        if not isinstance(kind, str) or named not in STYLES:
            return None
        return cls(style=named, conversation=str(entry.get("conversation") or "") if named == "alpaca_chat" else "")

    @property
    def kind(self) -> Kind:
        """What the type reads, in the style that the entry names."""
        kind = STYLES[self.style]
        return kind._replace(style=NAMED.get(self.conversation, kind.style)) if self.conversation else kind

    @property
    def columns(self) -> tuple[str, ...]:
        kind = self.kind
        return (*_names(kind.instruction), *_names(kind.output), *([kind.system] if kind.system else []))

    @property
    def schema(self) -> Mapping[str, Any]:
        kind = self.kind
        required = {name: OPTIONAL_TEXT_SCHEMA if name == kind.system else TEXT_SCHEMA for name in self.columns}
        return object_schema(required, {kind.input: OPTIONAL_TEXT_SCHEMA} if kind.input else {})

    def refusal(self, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> str:
        return f"conversation: {self.conversation} is no style of it" if self.conversation and self.conversation not in NAMED else ""

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        kind = self.kind
        instruction, answer = (
            written.format(**{name: text(values, name) for name in _names(written)}) for written in (kind.instruction, kind.output)
        )
        if kind.system:
            column(values, kind.system)
        system = optional_text(values, kind.system) if kind.system else ""
        more = optional_text(values, kind.input) if kind.input else ""
        return Row(line=line, turns=(("system", system), ("user", instruction), ("input", more), ("assistant", answer)))

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        return question_and_last(row.turns if row.turns[0][1] else row.turns[1:])

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        (_, system), (_, instruction), (_, more), (_, answer) = row.turns
        kind = self.kind
        told = system if kind.system else kind.told[not more]
        before = kind.style.system.format(system=told) if told else ""
        prompt = before + (kind.style.paired if more else kind.style.alone).format(instruction=instruction, input=more)
        return prompt_pieces(prompt, answer, values, tokenizer)


def _names(written: str) -> tuple[str, ...]:
    """The columns that a format names."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(written) if name)
