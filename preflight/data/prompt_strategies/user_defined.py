"""`type:` as a mapping: the config names the columns and writes the prompt itself (prompt_strategies/user_defined.py of axolotl 0.19)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.data.prompt_strategies.base import (
    OPTIONAL_TEXT_SCHEMA,
    TEXT_SCHEMA,
    Piece,
    Remark,
    Row,
    WholeRows,
    object_schema,
    optional_text,
    prompt_pieces,
    question_and_last,
    text,
)
from preflight.data.tokenizer import Tokenizer

OWN = "own system"  # the part of a row that has a system prompt of its own


@dataclass(frozen=True, kw_only=True)
class UserDefined(WholeRows):
    """The mapping, with Axolotl's defaults. Axolotl trains on nothing where `field_output` is not a column; here that is a bad row."""

    system_prompt: str = ""
    field_system: str = "system"
    field_instruction: str = "instruction"
    field_input: str = "input"
    field_output: str = "output"
    format: str = "{instruction} {input} "
    no_input_format: str = "{instruction} "
    system_format: str = "{system}"
    typical: ClassVar[Mapping[str, Any] | None] = None

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        kind = entry.get("type")
        if not isinstance(kind, Mapping):
            return None
        return cls(**{name: str(value) for name, value in kind.items() if name in cls.__dataclass_fields__ and value is not None})

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.field_instruction, self.field_output)

    @property
    def schema(self) -> Mapping[str, Any]:
        optional = {self.field_input: OPTIONAL_TEXT_SCHEMA, self.field_system: OPTIONAL_TEXT_SCHEMA}
        return object_schema({self.field_instruction: TEXT_SCHEMA, self.field_output: TEXT_SCHEMA}, optional)

    def unjudged(self, values: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> str:
        try:
            self._prompt("", "x", "x")
            self._prompt("x", "x", "")
        except (LookupError, ValueError, AttributeError) as error:
            return f"its format can't be filled in: {error!r}"
        return ""

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        question, answer = text(values, self.field_instruction), text(values, self.field_output)
        own = self.field_system in values
        system = optional_text(values, self.field_system) if own else self.system_prompt
        more = optional_text(values, self.field_input)
        return Row(line=line, turns=((OWN if own else "system", system), ("user", question), ("input", more), ("assistant", answer)))

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        return question_and_last(row.turns)

    def remarks(self, row: Row) -> Iterable[Remark]:
        (kind, _), _, (_, more), _ = row.turns
        if kind == OWN and self.system_prompt:
            yield self._has_system
        if not more and self.no_input_format == type(self).no_input_format and self.format != type(self).format:
            yield self._unused

    @property
    def _has_system(self) -> Remark:
        message = f"{{count:,}} of {{rows:,}} rows have a column {self.field_system}: the loader of rows gives it to the others as null, and they "
        message += "are trained without the system_prompt"
        fix = f"write {self.field_system} into every row, or into none"
        return Remark(code="data.mixed-columns", level="error", message=message, fix=fix, mixed=True)

    @property
    def _unused(self) -> Remark:
        message = f"{{count:,}} of {{rows:,}} rows have no {self.field_input}: Axolotl writes them by no_input_format, which is not set, and never "
        message += f"by format {self.format!r}".replace("{", "{{").replace("}", "}}")
        fix = f"no_input_format: {json.dumps(self.format)}" if "{input}" not in self.format else "no_input_format: your format without {input}"
        return Remark(code="config.format-unused", level="error", message=message, fix=fix)

    def _prompt(self, system: str, instruction: str, more: str) -> str:
        before = self.system_format.format(system=system) if system and self.system_format else ""
        if more:
            return before + self.format.format(instruction=instruction, input=more)
        return before + self.no_input_format.format(instruction=instruction)

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        (_, system), (_, instruction), (_, more), (_, answer) = row.turns
        return prompt_pieces(self._prompt(system, instruction, more), answer, values, tokenizer)
