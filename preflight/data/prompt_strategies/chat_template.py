"""`type: chat_template`: a conversation, written by a chat template, with loss on the turns that the entry names."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.data.prompt_strategies.base import (
    TEXT_SCHEMA,
    BadRowError,
    Piece,
    Remark,
    Row,
    Typed,
    WholeRows,
    check_characters,
    first_part,
    kind_of,
    object_schema,
    typed_in,
)
from preflight.data.prompt_strategies.conversation import SYSTEM, TOOLS, Fields, joined_parts, read_fields, read_messages
from preflight.data.prompt_strategies.masks import LossRules, read_rules
from preflight.data.prompt_strategies.templates import BadTemplateError, UnknownTemplateError, find_template
from preflight.data.prompt_strategies.writer import Writer, find_writer
from preflight.data.tokenizer import Tokenizer

PARTS = {"type": "array", "contains": {"anyOf": [object_schema({name: TEXT_SCHEMA}) for name in ("text", "content", "value")]}}
CONTENT = {"anyOf": [TEXT_SCHEMA, PARTS]}
# of a config: the tokens come from another program than a tokenizer.json, or from pictures
ELSEWHERE = ("tokenizer_use_mistral_common", "processor_type")

HAS_SYSTEM = Remark(
    code="data.mixed-columns",
    level="error",
    message=f"{{count:,}} of {{rows:,}} rows have a column {SYSTEM}: the loader of rows gives it to the others as null, and the chat template then "
    "writes None or stops",
    fix=f'write {SYSTEM} into every row, as "" where there is none, or as a message of the role system',
    mixed=True,
)


@dataclass(frozen=True, kw_only=True)
class ChatTemplate(WholeRows):
    """The list of messages of a row, each with a role and a content, as an entry of `datasets` sets it up."""

    fields: Fields
    rules: LossRules
    own: tuple[tuple[str, Any], ...] = ()  # the entry's own template; else the config's counts
    typical: ClassVar[Mapping[str, Any] | None] = {"type": "chat_template"}

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        if first_part(entry) != "chat_template":
            return None
        fields = read_fields(entry)
        return cls(
            fields=fields,
            rules=read_rules(entry, fields),
            own=tuple((key, str(entry[key])) for key in ("chat_template", "chat_template_jinja") if entry.get(key)),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.fields.messages,)

    @property
    def schema(self) -> Mapping[str, Any]:
        role, content = self.fields.name("role"), self.fields.name("content")
        answers = [source for source, target in self.fields.roles if target == "assistant"]
        spoken = {"if": {"properties": {role: {"enum": self._spoken}}}, "then": object_schema({content: CONTENT})}
        calls = {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}}
        turn = object_schema({role: {"type": "string", "minLength": 1}}) | {"anyOf": [spoken, calls]}
        turns = {"type": "array", "minItems": 1, "items": turn, "contains": {"properties": {role: {"enum": answers}}}}
        return object_schema({self.fields.messages: turns})

    @property
    def _spoken(self) -> list[str]:
        """The row's names of the roles whose turns say something."""
        return [source for source, target in self.fields.roles if target in ("user", "assistant")]

    def unjudged(self, values: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> str:
        if elsewhere := next((key for key in ELSEWHERE if values.get(key)), ""):
            return f"{elsewhere} is set: another program than the chat template writes the conversation"
        try:
            find_template(dict(self.own), values, tokenizer)
        except UnknownTemplateError as error:
            return str(error)
        except BadTemplateError:
            return ""  # `refusal` says so
        return ""

    def refusal(self, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> str:
        try:
            return self._writer(values, tokenizer).refusal
        except UnknownTemplateError:
            return ""
        except BadTemplateError as error:
            return str(error)

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        fields = self.fields
        messages = read_messages(values, fields.messages)
        turns = tuple(self._spoken_turn(f"{fields.messages}[{number}]", message) for number, message in enumerate(messages))
        flagged = any(message.get(key) for message in messages for key in (fields.training, fields.detail) if key)
        if not flagged and not any(role == "assistant" for role, _ in turns):
            said = ", ".join(dict.fromkeys(role for role, _ in turns))
            raise BadRowError(f"{fields.messages} has no assistant turn: there is no answer to learn. Its roles are {said}")
        kept = {name: values[name] for name in (fields.messages, SYSTEM, TOOLS) if name in values}
        return Row(line=line, turns=turns, columns=kept)

    def _spoken_turn(self, name: str, message: Mapping[str, Any]) -> tuple[str, str]:
        """(role, content) of a message, the content as text."""
        role, content = (message.get(self.fields.name(part)) for part in ("role", "content"))
        if not isinstance(role, str) or not role:
            raise BadRowError(f"{name}.{self.fields.name('role')} is {kind_of(role) if role != '' else 'empty'}, not the name of a role")
        role = str(self.fields.role(role))
        said, _ = joined_parts(content)
        calls = message.get("tool_calls")
        if isinstance(calls, list) and calls:
            return role, said if isinstance(said, str) and said.strip() else json.dumps(calls)
        if not isinstance(said, str) and said is not None:
            raise BadRowError(f"{name}: {self.fields.name('content')} is {kind_of(said)}, not text")
        if role in ("user", "assistant") and not (said or "").strip():
            what = "is empty" if self.fields.name("content") in message and content is not None else "is missing"
            raise BadRowError(f"{name}: {self.fields.name('content')} {what}")
        check_characters(name, said or "")
        return role, said or ""

    def _last_answer(self, row: Row) -> int:
        return max((place for place, (role, _) in enumerate(row.turns) if role == "assistant"), default=len(row.turns) - 1)

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        last = self._last_answer(row)
        return "\n".join(content for _, content in row.turns[:last]), row.turns[last][1]

    def typed(self, row: Row, tokenizer: Tokenizer) -> Typed:
        """The chat template adds every special token."""
        return typed_in([content for _, content in row.turns], tokenizer)

    def remarks(self, row: Row) -> Iterable[Remark]:
        return (HAS_SYSTEM,) if SYSTEM in row.columns else ()

    def check(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> None:
        try:
            writer = self._writer(values, tokenizer)
        except (UnknownTemplateError, BadTemplateError):
            return
        writer.check(row)

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        """One piece, the whole conversation with its special tokens written out. Raises BadRowError, UnknownTemplateError, BadTemplateError."""
        return [self._writer(values, tokenizer).piece(row, self._last_answer(row))]

    def _writer(self, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> Writer:
        """Raises UnknownTemplateError, BadTemplateError."""
        return find_writer(find_template(dict(self.own), values, tokenizer), self.fields, self.rules, values, tokenizer)
