"""`type: input_output`: segments of text, each with or without loss, and no markup or special token but what they hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.data.prompt_strategies.base import BadRowError, Piece, Row, Typed, WholeRows, column, first_part, kind_of, object_schema
from preflight.data.tokenizer import Tokenizer

TRAINED, READ = "trained", "read"
SEGMENT = object_schema({"label": {"type": "boolean"}, "text": {"type": "string"}})


@dataclass(frozen=True, kw_only=True)
class InputOutput(WholeRows):
    """The segments of a row."""

    typical: ClassVar[Mapping[str, Any] | None] = {"type": "input_output"}

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        return cls() if first_part(entry) == "input_output" else None

    @property
    def columns(self) -> tuple[str, ...]:
        return ("segments",)

    @property
    def schema(self) -> Mapping[str, Any]:
        answers = {"contains": {"properties": {"label": {"const": True}, "text": {"pattern": r"\S"}}}}
        return object_schema({"segments": {"type": "array", "minItems": 1, "items": SEGMENT} | answers})

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        segments = column(values, "segments")
        if not isinstance(segments, list):
            raise BadRowError(f"segments is {kind_of(segments)}, not a list of segments")
        if not segments:
            raise BadRowError("segments is empty")
        turns = tuple(self._segment(f"segments[{number}]", segment) for number, segment in enumerate(segments))
        if not any(kind == TRAINED and content.strip() for kind, content in turns):
            raise BadRowError("segments has none with label true and a text: there is no answer to learn")
        return Row(line=line, turns=turns)

    def _segment(self, name: str, segment: Any) -> tuple[str, str]:
        if not isinstance(segment, dict):
            raise BadRowError(f"{name} is {kind_of(segment)}, not an object with label and text")
        label, content = segment.get("label"), segment.get("text")
        if not isinstance(label, bool):
            raise BadRowError(f"{name}.label is {kind_of(label)}, not true or false")
        if not isinstance(content, str):
            raise BadRowError(f"{name}.text is {kind_of(content)}, not text")
        return TRAINED if label else READ, content

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        """The last segment with loss is the answer."""
        last = _last_answer(row)
        return "".join(content for _, content in row.turns[:last]), row.turns[last][1]

    def typed(self, row: Row, tokenizer: Tokenizer) -> Typed:
        return Typed()  # special tokens belong into the segments

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        everything = bool(values.get("train_on_inputs"))
        last = _last_answer(row)
        return [
            Piece(content, everything or kind == TRAINED, answer=(0, len(content)) if number == last else None)
            for number, (kind, content) in enumerate(row.turns)
        ]


def _last_answer(row: Row) -> int:
    return max(number for number, (kind, content) in enumerate(row.turns) if kind == TRAINED and content.strip())
