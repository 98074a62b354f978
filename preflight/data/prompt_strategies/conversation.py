"""The turns of a conversation as Axolotl 0.19 hands them to a chat template (ChatTemplateStrategy.get_conversation_thread)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from preflight.data.prompt_strategies.base import BadRowError, column, kind_of

ROLES = {"human": "user", "gpt": "assistant"} | {role: role for role in ("system", "user", "assistant", "tool")}
SYSTEM, TOOLS = "system", "tools"  # columns that Axolotl reads beside the messages, whatever field_system and field_tools say
THINKING = (("<think>", "</think>"), ("<reasoning>", "</reasoning>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


class Turn(NamedTuple):
    """One turn: what the template gets of it, and what the row says of its loss."""

    message: dict[str, Any]
    training: Any = None  # whether it is trained, where the row says
    detail: list[dict[str, Any]] | None = None  # which characters of its content are trained
    thinking_detail: list[dict[str, Any]] | None = None  # the same of its reasoning


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Where an entry of `datasets` says the parts of a conversation are."""

    messages: str = "messages"
    names: tuple[tuple[str, str], ...] = (("role", "role"), ("content", "content"))  # (the template's name, the row's)
    roles: tuple[tuple[str, str], ...] = tuple(ROLES.items())  # (the row's name, the template's)
    training: str = ""
    detail: str = ""
    thinking: str = "reasoning_content"  # the template's name of a reasoning
    split_thinking: bool = False
    drop_system: bool = False

    def name(self, part: str) -> str:
        """The row's name of `role` or `content`."""
        return dict(self.names)[part]

    def role(self, name: Any) -> Any:
        """The role that a row's name stands for; another name is handed on as it is."""
        return dict(self.roles).get(name, name) if isinstance(name, str) else name


def read_fields(entry: Mapping[str, Any]) -> Fields:
    """The fields of an entry, with Axolotl's defaults and its older names."""
    names, roles = entry.get("message_property_mappings"), entry.get("roles")
    mapped = {str(key): str(value) for key, value in names.items()} if isinstance(names, Mapping) else {}
    for part in ("role", "content"):
        mapped[part] = str(entry.get(f"message_field_{part}") or mapped.get(part) or part)
    read = {
        str(source): str(target) for target, sources in (roles.items() if isinstance(roles, Mapping) else ()) for source in _listed(sources)
    } or ROLES
    return Fields(
        messages=str(entry.get("field_messages") or "messages"),
        names=tuple(mapped.items()),
        roles=tuple(read.items()),
        training=str(entry.get("message_field_training") or ""),
        detail=str(entry.get("message_field_training_detail") or ""),
        thinking=str(entry.get("template_thinking_key") or "reasoning_content"),
        split_thinking=bool(entry.get("split_thinking")),
        drop_system=bool(entry.get("drop_system_message")),
    )


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def read_messages(values: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The messages under this column, a list or the JSON of one. Raises BadRowError."""
    found = column(values, name)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as error:
            raise BadRowError(f"{name} is text, and not the JSON of a list of messages: {error}") from None
    if not isinstance(found, list):
        raise BadRowError(f"{name} is {kind_of(found)}, not a list of messages")
    if not found:
        raise BadRowError(f"{name} is empty")
    for number, message in enumerate(found):
        if not isinstance(message, dict):
            raise BadRowError(f"{name}[{number}] is {kind_of(message)}, not an object with role and content")
    return found


def read_tools(values: Mapping[str, Any]) -> list[Any] | None:
    """The tools of a row, a list or the JSON of one. Raises BadRowError."""
    found = _without_nulls(values.get(TOOLS))
    if found is None:
        return None
    try:
        found = json.loads(found) if isinstance(found, str) else found
        for tool in found if isinstance(found, list) else ():
            if isinstance(tool, dict) and "parameters" in (function := tool.get("function") or {}) and isinstance(function["parameters"], str):
                function["parameters"] = json.loads(function["parameters"])
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"{TOOLS} holds text that is not JSON: {error}") from None
    if not isinstance(found, list):
        raise BadRowError(f"{TOOLS} is {kind_of(found)}, not a list of tools")
    if bad := next((tool for tool in found if not isinstance(tool, dict)), None):
        raise BadRowError(f"{TOOLS} holds {kind_of(bad)}, not an object that describes a tool")
    return found


def read_turns(values: Mapping[str, Any], fields: Fields, variables: frozenset[str]) -> list[Turn]:
    """The turns of a row. `variables` are the keys of a message that the template reads. Raises BadRowError."""
    messages = [_without_nulls(message) for message in read_messages(values, fields.messages)]
    turns = [_turn(f"{fields.messages}[{number}]", message, fields, variables) for number, message in enumerate(messages)]
    if SYSTEM in values and turns[0].message["role"] != "system":
        turns.insert(0, Turn({"role": "system", "content": values[SYSTEM]}))
    if fields.drop_system and turns[0].message["role"] == "system":
        turns = turns[1:]
    if not turns:
        raise BadRowError(f"{fields.messages} holds a system turn only, which drop_system_message drops")
    return turns


def _turn(name: str, message: dict[str, Any], fields: Fields, variables: frozenset[str]) -> Turn:
    turn = {key: message[source] for key, source in fields.names if message.get(source) is not None}
    if "role" not in turn:
        raise BadRowError(f"{name} has no {fields.name('role')}")
    turn["role"] = fields.role(turn["role"])
    if fields.split_thinking and turn["role"] == "assistant" and isinstance(turn.get("content"), str):
        turn |= split_thinking(turn["content"], fields.thinking)
    mapped = {source for _, source in fields.names}
    turn |= {key: message[key] for key in sorted(variables) if key in message and key not in mapped}
    for call in turn.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            try:
                function["arguments"] = json.loads(function["arguments"])
            except (ValueError, RecursionError) as error:
                raise BadRowError(f"{name}.tool_calls has arguments that are not JSON: {error}") from None
    detail = message.get(fields.detail) if fields.detail else None
    turn["content"], parts = joined_parts(turn.get("content"))
    thinking, thinking_parts = joined_parts(turn.get(fields.thinking))
    if turn["content"] is None:
        del turn["content"]
    if thinking is not None:
        turn[fields.thinking] = thinking
    return Turn(turn, message.get(fields.training) if fields.training else None, parts if parts is not None else detail, thinking_parts)


def joined_parts(content: Any) -> tuple[Any, list[dict[str, Any]] | None]:
    """(a content in parts as one text, which characters of it are trained where its parts say so); any other content as it is."""
    if not isinstance(content, list):
        return content, None
    texts, details, told, offset = list[str](), list[dict[str, Any]](), False, 0
    for part in content:
        if not isinstance(part, dict):
            continue
        text = part.get("text") or part.get("content") or part.get("value") or ""
        if not isinstance(text, str):
            raise BadRowError(f"a part of the content holds {kind_of(text)}, not text")
        texts.append(text)
        train, weight = part.get("train"), part.get("weight")
        told = told or train is not None or weight is not None
        trained = train if train is not None else weight not in (0, 0.0)
        if text:
            details.append({"begin_offset": offset, "end_offset": offset + len(text) - 1, "train": trained})
            offset += len(text)
    return "".join(texts), details if told else None


def split_thinking(content: str, key: str) -> dict[str, str]:
    """The reasoning in an answer apart from it, for `split_thinking`; nothing where there is none."""
    for begin, end in THINKING:
        if begin not in content or end not in content:
            continue
        start, stop = content.find(begin), content.find(end)
        rest = content[stop + len(end) :].lstrip()
        if SOLUTION[0] in rest and SOLUTION[1] in rest:
            rest = rest[rest.find(SOLUTION[0]) + len(SOLUTION[0]) : rest.find(SOLUTION[1])].strip()
        return {key: content[start + len(begin) : stop].strip(), "content": rest}
    return {}


def _without_nulls(value: Any) -> Any:
    """A value without the keys of objects that are null: the loader of rows adds such keys, and Axolotl drops them."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
