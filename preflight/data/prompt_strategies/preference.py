"""Rows for `rl`: a prompt with a chosen and a rejected answer (dpo, ipo, simpo, orpo), or with one answer and whether it is good (kto).

What Axolotl reads of them is in prompt_strategies/{dpo,orpo,kto}/ of axolotl 0.19. Their tokens are made by trl's trainers, so lengths and
steps are not judged; what the rows hold is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from preflight.data.prompt_strategies.base import TEXT_SCHEMA, BadRowError, Piece, Row, WholeRows, column, kind_of, object_schema, text
from preflight.data.prompt_strategies.conversation import Fields, read_fields
from preflight.data.tokenizer import Tokenizer

PAIRS = ("dpo", "ipo", "simpo")
REJECTED = "rejected"


class Columns(NamedTuple):
    """The columns of a row: of several names that one may have, the first that it has counts. An answer is text, or a conversation that
    ends with it."""

    prompt: tuple[str, ...]  # empty where the prompt is the conversation before the chosen answer
    chosen: tuple[str, ...] = ("chosen",)
    rejected: tuple[str, ...] = (REJECTED,)  # empty for kto
    label: str = ""  # whether the answer is good


QUESTIONS = Columns(("question",))
PROMPTS = Columns(("prompt",))
ANY = Columns(("prompt", "input", "question", "instruction"), ("chosen", "chosen_response"), (REJECTED, "rejected_response"))
ALONE = Columns(())
COMPLETED = Columns(("prompt",), ("completion",), (), "label")
TYPES: Mapping[str, Mapping[str, Columns]] = {
    "dpo": {
        "": PROMPTS,
        "passthrough": PROMPTS,
        "chat_template": Columns(("messages",)),
        "chat_template.argilla_chat": ALONE,
        **{
            f"{markup}{name}": columns
            for markup in ("chatml", "llama3")
            for name, columns in {
                "": ANY,
                ".icr": Columns(("input",)),
                ".intel": QUESTIONS,
                ".prompt_pairs": PROMPTS,
                ".ultra": PROMPTS,
                ".argilla_chat": ALONE,
            }.items()
        },
    },
    "orpo": {"chat_template.argilla": ALONE},
    "kto": {
        "": COMPLETED,
        **{
            f"{markup}.{name}": COMPLETED._replace(prompt=prompt)
            for markup in ("chatml", "llama3")
            for name, prompt in {
                "argilla": ("instruction",),
                "argilla_chat": (),
                "intel": ("question",),
                "prompt_pairs": ("prompt",),
                "ultra": ("prompt",),
            }.items()
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Preference(WholeRows):
    """A row of this method, read as this `type` reads it."""

    method: str
    read: Columns
    fields: Fields
    typical: ClassVar[Mapping[str, Any] | None] = None

    @classmethod
    def accept(cls, entry: Mapping[str, Any], method: str = "") -> Self | None:
        types, kind = TYPES.get("dpo" if method in PAIRS else method, {}), entry.get("type")
        name = "" if isinstance(kind, Mapping) else str(kind or "").removesuffix(".default")
        if name not in types:
            return None
        read = _named(types[name], kind if isinstance(kind, Mapping) else entry)
        if name == "chat_template":
            read = read._replace(prompt=(str(entry.get("field_messages") or "messages"),))
        return cls(method=method, read=read, fields=read_fields(entry))

    @property
    def columns(self) -> tuple[str, ...]:
        read = self.read
        return tuple(names[0] for names in (read.prompt, read.chosen, read.rejected, (read.label,)) if names and names[0])

    @property
    def schema(self) -> Mapping[str, Any]:
        return object_schema(
            {name: {} if name == self.read.label else {"anyOf": [TEXT_SCHEMA, {"type": ["array", "object"]}]} for name in self.columns}
        )

    def unjudged(self, values: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> str:
        return f"trl's trainer for {self.method} makes the tokens"

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        read = self.read
        before, chosen = self._said(values, read.chosen)
        asked = self._said(values, read.prompt) if read.prompt else ("", before)
        question = "\n".join(part for part in asked if part)
        if not question:
            raise BadRowError(f"{read.chosen[0]} has no turn before the answer: there is no question")
        turns = [("user", question), ("assistant", chosen)]
        if read.rejected:
            turns.append((REJECTED, self._said(values, read.rejected)[1]))
            if turns[-1][1] == chosen:
                raise BadRowError(f"{read.chosen[0]} and {read.rejected[0]} are the same: there is nothing to prefer")
        if read.label and not isinstance(label := column(values, read.label), bool):
            raise BadRowError(f"{read.label} is {kind_of(label)}, not true or false")
        return Row(line=line, turns=tuple(turns))

    def _said(self, values: Mapping[str, Any], names: Sequence[str]) -> tuple[str, str]:
        """(what is before the last text, the last text) under the first of these columns that the row has. Raises BadRowError."""
        name = next((name for name in names if name in values), names[0])
        found = column(values, name)
        messages = [found] if isinstance(found, dict) else found
        if not isinstance(messages, list):
            return "", text(values, name)
        content = self.fields.name("content")
        if not messages or not all(isinstance(message, dict) for message in messages):
            raise BadRowError(f"{name} is no list of messages with role and {content}")
        texts = [text(message, content) for message in messages]
        return "\n".join(texts[:-1]), texts[-1]

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        return row.turns[0][1], row.turns[1][1]

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        """None: no number is told of these rows."""
        return []


def _named(read: Columns, entry: Mapping[str, Any]) -> Columns:
    """The columns with the names that an entry, or its `type`, gives them."""
    given = {key: str(entry[f"field_{key}"]) for key in ("prompt", "chosen", "rejected", "completion", "label") if entry.get(f"field_{key}")}
    answer = given.get("completion" if read.label else "chosen")
    return Columns(
        (given["prompt"],) if "prompt" in given else read.prompt,
        (answer,) if answer else read.chosen,
        (given["rejected"],) if "rejected" in given and read.rejected else read.rejected,
        given.get("label", read.label) if read.label else "",
    )
