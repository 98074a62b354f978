"""`type: chat_template`: a conversation, with loss on the assistant's turns. Mistral's first template is reproduced, no other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.data.prompt_strategies.base import (
    TEXT_SCHEMA,
    BadRowError,
    Piece,
    Row,
    WholeRows,
    column,
    first_part,
    kind_of,
    object_schema,
    question_and_last,
    text,
)
from preflight.data.tokenizer import Tokenizer

# names of the roles in a conversation, as Axolotl maps them (prompt_strategies/chat_template.py)
ROLES = {"human": "user", "gpt": "assistant"} | {role: role for role in ("system", "user", "assistant", "tool")}
REPRODUCED = "mistral_v1"
# of an entry or the config: what the reproduced rendering and its loss mask hold for; anything else is not judged
ONLY_WITH: Mapping[str, tuple[Any, ...]] = {
    "roles_to_train": (None, ["assistant"]),
    "train_on_eos": (None, "turn"),
    "train_on_eot": (None, "turn"),
    "eot_tokens": (None, []),
    "train_on_inputs": (None, False),
    "message_field_training": (None,),
    "message_field_training_detail": (None,),
    "split_thinking": (None, False),
    "drop_system_message": (None, False),
    "roles": (None,),
}


@dataclass(frozen=True, kw_only=True)
class ChatTemplate(WholeRows):
    """The list of messages under `messages`, each with a role and a content."""

    messages: str
    role: str = "role"
    content: str = "content"
    own_template: str = ""  # that the entry names; else the config's counts
    differs: str = ""  # the first setting of the entry that the reproduced loss mask does not hold for
    typical: ClassVar[Mapping[str, Any] | None] = {"type": "chat_template"}

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        if first_part(entry) != "chat_template":
            return None
        names = entry.get("message_property_mappings")
        names = names if isinstance(names, Mapping) else {}
        role, content = (str(names.get(name) or entry.get(f"message_field_{name}") or name) for name in ("role", "content"))
        return cls(
            messages=str(entry.get("field_messages") or "messages"),
            role=role,
            content=content,
            own_template=str(entry.get("chat_template") or ""),
            differs=_differing(entry),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.messages,)

    @property
    def schema(self) -> Mapping[str, Any]:
        turn = object_schema({self.role: {"enum": list(ROLES)}, self.content: TEXT_SCHEMA})
        answers = {"contains": {"properties": {self.role: {"enum": ["assistant", "gpt"]}}}}
        return object_schema({self.messages: {"type": "array", "minItems": 1, "items": turn} | answers})

    @property
    def writes_markup(self) -> bool:
        return False

    def unjudged(self, values: Mapping[str, Any]) -> str:
        template = self.own_template or str(values.get("chat_template") or "tokenizer_default")
        if template != REPRODUCED:
            return f"chat_template {template} is not reproduced here, only {REPRODUCED} is"
        differs = self.differs or _differing(values)
        return f"the loss mask of {differs} is not reproduced here" if differs else ""

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        """An optional system turn, then user and assistant by turns."""
        turns = column(values, self.messages)
        if not isinstance(turns, list):
            raise BadRowError(f"{self.messages} is {kind_of(turns)}, not a list of messages")
        if not turns:
            raise BadRowError(f"{self.messages} is empty")
        read: list[tuple[str, str]] = []
        for number, turn in enumerate(turns):
            read.append(self._turn(f"{self.messages}[{number}]", turn, read[-1][0] if read else "the beginning"))
        if not any(role == "assistant" for role, _ in read):
            raise BadRowError(f"{self.messages} has no assistant turn: there is no answer to learn")
        return Row(line=line, turns=tuple(read))

    def _turn(self, name: str, turn: Any, before: str) -> tuple[str, str]:
        if not isinstance(turn, dict):
            raise BadRowError(f"{name} is {kind_of(turn)}, not an object with {self.role} and {self.content}")
        role = ROLES.get(str(turn.get(self.role)))
        if role is None:
            raise BadRowError(f"{name}.{self.role} is {turn.get(self.role)!r}, not one of system, user, assistant")
        try:
            content = text(turn, self.content)
        except BadRowError as problem:
            raise BadRowError(f"{name}: {problem}") from None
        if role == "system" and before != "the beginning":
            raise BadRowError(f"{name} is a system turn after {before}; only the first can be one")
        if role == before or (role == "assistant" and before in ("system", "the beginning")):
            raise BadRowError(f"{name} is a turn of the {role} after {before}: user and assistant must take turns")
        return role, content

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        return question_and_last(row.turns)

    def prompt_and_answer(self, row: Row) -> tuple[str, str]:
        return rendered(row.turns[:-1]), row.turns[-1][1]

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        written, answers = "", list[tuple[int, int]]()
        for role, content in row.turns:
            turn = rendered([(role, content)], tokenizer.eos)
            if role == "assistant":
                answers.append((len(written) + 1, len(written) + len(turn)))  # after the space, up to and with the EOS
            written += turn
        return [Piece(written, answers, bos=tokenizer.bos_id is not None)]


def rendered(turns: Iterable[tuple[str, str]], eos: str = "") -> str:
    """The conversation in Mistral's own markup (Axolotl's mistral_v1), without BOS."""
    return "".join(f" {content}{eos}" if role == "assistant" else f" [INST] {content} [/INST]" for role, content in turns)


def _differing(values: Mapping[str, Any]) -> str:
    """The first setting among the values that the reproduced loss mask does not hold for, as `key: value`, or ''."""
    return next((f"{key}: {values[key]}" for key, allowed in ONLY_WITH.items() if values.get(key) not in allowed), "")
