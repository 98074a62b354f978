"""Which lines of YAML read rows with columns such as these."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

# columns as the usual data sets name them, the likelier first
ASKED = ("question", "instruction", "sql_prompt", "prompt", "utterance", "text_query")
CONTEXT = ("context", "schema", "sql_context", "input", "ddl", "create_table_statement")
ANSWER = ("answer", "output", "response", "completion", "sql", "query", "SQL", "target")
ROLE, CONTENT = ("role", "from", "speaker"), ("content", "value", "text")
WITH, WITHOUT = "[INST] {input}\n\n{instruction} [/INST] ", "[INST] {instruction} [/INST] "


def advise(columns: Mapping[str, Any]) -> str:
    """The lines of an entry of `datasets` that read a row with these columns, or '' where they can't be guessed."""
    for name, value in columns.items():
        if isinstance(value, list) and value and isinstance(value[0], dict) and (lines := _talk(name, value[0])):
            return lines
    columns = {name: value for name, value in columns.items() if isinstance(value, str)}
    if {"instruction", "output"} <= columns.keys():
        return "type: alpaca, as in Alpaca's own data, or the type of axolotl_configs/mistral_qlora_instruct.yaml"
    asked, answer = _first(ASKED, columns), _first(ANSWER, columns)
    if asked and answer:
        context = _first(CONTEXT, columns)
        fields = {"field_instruction": asked} | ({"field_input": context} if context else {}) | {"field_output": answer}
        return f"type: {json.dumps(fields | {'format': WITH, 'no_input_format': WITHOUT})}, as in axolotl_configs/mistral_qlora_instruct.yaml"
    text = _first(("text", "content"), columns)
    return f"type: completion, field: {text}" if text else ""


def _talk(name: str, message: Mapping[str, Any]) -> str:
    role, content = _first(ROLE, message), _first(CONTENT, message)
    if not role or not content:
        return ""
    lines = f"type: chat_template, field_messages: {name}"
    if (role, content) != ("role", "content"):
        lines += f", message_property_mappings: {{role: {role}, content: {content}}}"
    return lines + ", chat_template: mistral_v1, as in axolotl_configs/mistral_qlora_chat.yaml"


def _first(names: Sequence[str], columns: Mapping[str, Any]) -> str:
    return next((name for name in names if name in columns), "")
