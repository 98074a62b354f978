"""Read the rows, one at a time, against the shape that their dataset entry declares.

The shapes are those of axolotl_configs/schema/rows/, said again in code: jsonschema takes 11 times as long a row (2-core Xeon, 2026-11-24).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from preflight.findings import Finding

SHOWN = 20  # bad rows of a file that are named; all are counted
HUGE = 8 << 20  # bytes; Axolotl cuts a row at 64 sequences, half a megabyte at 2,048 tokens of 4 bytes
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# what ends the question in a `text` row: the markups of Mistral, Alpaca, ChatML and Zephyr, and the usual ones for SQL
MARKERS = ("[/INST]", "### Response:", "<|im_start|>assistant", "<|assistant|>", "### SQL:", "### Answer:")
# names of the roles in a conversation, as Axolotl maps them (prompt_strategies/chat_template.py)
ROLES = {"human": "user", "gpt": "assistant"} | {role: role for role in ("system", "user", "assistant", "tool")}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a dataset entry reads its rows, and under which names."""

    kind: str  # text, messages or instruction
    columns: tuple[str, ...]  # the text, the list of messages, or instruction, input and output
    role: str = "role"
    content: str = "content"


class Row(NamedTuple):  # a million are made, each in a third of the time that a frozen dataclass takes
    """One line of a JSONL file: what is asked and what is answered, or what is wrong with it."""

    line: int
    text: str = ""  # the text; of an instruction, its answer
    messages: tuple[tuple[str, str], ...] = ()  # (role, content) of each turn; of an instruction: user, input, assistant
    problem: str = ""
    huge: bool = False


def shape_of(entry: Mapping[str, Any]) -> Shape | None:
    """The shape that an entry's `type` asks for, or None for one that is not read here."""
    kind = str(entry.get("type")).partition(".")[0].partition(":")[0]
    if kind == "completion":
        return Shape(kind="text", columns=(str(entry.get("field") or "text"),))
    if kind == "chat_template":
        names = entry.get("message_property_mappings")
        names = names if isinstance(names, Mapping) else {}
        role, content = (str(names.get(name) or entry.get(f"message_field_{name}") or name) for name in ("role", "content"))
        return Shape(kind="messages", columns=(str(entry.get("field_messages") or "messages"),), role=role, content=content)
    if entry.get("type") == "alpaca":  # alpaca:chat and its like have another template
        return Shape(kind="instruction", columns=("instruction", "input", "output"))
    return None


def question_and_answer(row: Row) -> tuple[str, str]:
    """All up to the last answer, and that answer. A text without a marker is all answer."""
    if row.messages:
        return "\n".join(content for _, content in row.messages[:-1]), row.messages[-1][1]
    for marker in MARKERS:
        question, found, answer = row.text.rpartition(marker)
        if found:
            return question + found, answer
    return "", row.text


def guess_shape(path: Path) -> Shape | None:
    """The shape that the first row of a file has, where no config declares one."""
    with path.open("rb") as file:
        try:
            columns = _parse(file.readline(HUGE).removeprefix(b"\xef\xbb\xbf"))
        except _BadRowError:
            return None
    kinds = {"text": "completion", "messages": "chat_template", "instruction": "alpaca"}
    return next((shape_of({"type": kind}) for column, kind in kinds.items() if column in columns), None)


def split(path: Path, size: int) -> Iterator[tuple[int, int, int]]:
    """The file in stretches of about `size` bytes that end where a row does: (start, end, lines before it). Raises OSError."""
    start = place = before = lines = 0
    with path.open("rb") as file:
        while chunk := file.read(size):
            if not place and chunk.startswith(UTF_16):
                start, place = 0, path.stat().st_size
                break
            lines += chunk.count(b"\n")
            if last := chunk.rfind(b"\n") + 1:
                yield start, place + last, before
                start, before = place + last, lines
            place += len(chunk)
    if start < place:
        yield start, place, before


def read_rows(path: Path, shape: Shape, start: int = 0, end: int | None = None, line: int = 0) -> Iterator[Row]:
    """Every row of a JSONL file, or of the stretch of it that has so many lines before it, in order; none is held longer than
    it is looked at, and a huge one never. Raises OSError."""
    with path.open("rb") as file:
        file.seek(start)
        place = start
        while (end is None or place < end) and (raw := file.readline(HUGE + 1)):
            line += 1
            place += len(raw)
            if len(raw) > HUGE:
                size = len(raw)
                while not raw.endswith(b"\n") and (raw := file.readline(HUGE)):
                    size += len(raw)
                place += size - HUGE - 1
                yield Row(line=line, huge=True, problem=f"a row of {size:,} bytes is no example: at most {HUGE:,} are read")
                continue
            if place == len(raw):
                if raw.startswith(UTF_16):
                    yield Row(line=1, problem="the file is UTF-16; save it as UTF-8")
                    return
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if not raw.isspace():
                yield _row(line, raw, shape)


def check_rows(path: Path, problems: Sequence[Row], bad: int) -> list[Finding]:
    """`data.bad-row` and `data.huge-row` for the first of the bad rows, with how many there are."""
    findings = [
        Finding(
            code="data.huge-row" if row.huge else "data.bad-row",
            level="error",
            where=f"{path}:{row.line}",
            message=row.problem,
            fix="delete the row, or cut what bloats it (a schema with its data, most often)" if row.huge else "mend or delete the row",
        )
        for row in problems[:SHOWN]
    ]
    if bad > SHOWN:
        message = f"{bad:,} bad rows in all; the first {SHOWN} are shown"
        findings.append(Finding(code="data.bad-row", level="error", where=str(path), message=message, fix="mend what made the file"))
    return findings


def check_near_empty(path: Path, lines: Sequence[int]) -> list[Finding]:
    """`data.empty-answer`: rows whose answer says nothing."""
    if not lines:
        return []
    message = f"{len(lines):,} answers are empty or next to it; the first in line {lines[0]}"
    return [Finding(code="data.empty-answer", level="warning", where=f"{path}:{lines[0]}", message=message, fix="delete these rows")]


class _BadRowError(Exception):
    """What is wrong with a row, in words."""


def _row(line: int, raw: bytes, shape: Shape) -> Row:
    try:
        return _read(line, _parse(raw), shape)
    except _BadRowError as problem:
        return Row(line=line, problem=str(problem))


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8").strip(" \t\r\n")
    except UnicodeDecodeError as error:
        raise _BadRowError(f"not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}") from None
    try:
        values, end = DECODER.raw_decode(text)
        if end < len(text):
            raise json.JSONDecodeError("Extra data", text, end)
    except json.JSONDecodeError as error:
        if text.startswith("["):
            raise _BadRowError("a list over several lines, not one object a line; jq -c '.[]' writes it as such") from None
        ends = "; the row is cut off" if error.pos >= len(text) or error.msg.startswith("Unterminated") else ""
        raise _BadRowError(f"not JSON: {error.msg} at position {error.pos}{ends}") from None
    except (ValueError, RecursionError) as error:
        raise _BadRowError(f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise _BadRowError(f"{_kind(values)}, not an object with columns")
    for key in values:
        if raw.count(b'"%s"' % key.encode("utf-8", "replace")) > 1:  # cheap, and seldom true: then look closely
            json.loads(text, object_pairs_hook=_no_duplicates)
    return values


def _refuse(constant: str) -> NoReturn:
    raise _BadRowError(f"{constant} is not JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for i, (key, _) in enumerate(pairs):
        if key in (other for other, _ in pairs[:i]):
            raise _BadRowError(f"the key {key} stands in the row twice")
    return dict(pairs)


def _read(line: int, values: Mapping[str, Any], shape: Shape) -> Row:
    if shape.kind == "messages":
        return Row(line=line, messages=_conversation(_column(values, shape.columns[0]), shape))
    if shape.kind == "text":
        return Row(line=line, text=_text(values, shape.columns[0]))
    question, answer = _text(values, "instruction"), _text(values, "output")
    more = values.get("input")
    if more is not None and not isinstance(more, str):
        raise _BadRowError(f"input is {_kind(more)}, not text")
    return Row(line=line, text=answer, messages=(("user", question), ("input", more or ""), ("assistant", answer)))


def _column(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        near = next((key for key in values if key.lower() == name.lower()), "")
        raise _BadRowError(f"no column {name}" + (f", but {near}" if near else f"; the columns are {', '.join(list(values)[:8]) or 'none'}"))
    return values[name]


def _text(values: Mapping[str, Any], name: str) -> str:
    text = _column(values, name)
    if not isinstance(text, str):
        raise _BadRowError(f"{name} is {_kind(text)}, not text")
    if not text or text.isspace():
        raise _BadRowError(f"{name} is empty")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise _BadRowError(f"{name} holds half a surrogate pair (\\ud800 to \\udfff), which is no character") from None
    return text


def _conversation(turns: Any, shape: Shape) -> tuple[tuple[str, str], ...]:
    """The turns as (role, content): an optional system turn, then user and assistant by turns, ending with an answer."""
    name = shape.columns[0]
    if not isinstance(turns, list):
        raise _BadRowError(f"{name} is {_kind(turns)}, not a list of messages")
    if not turns:
        raise _BadRowError(f"{name} is empty")
    read: list[tuple[str, str]] = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict):
            raise _BadRowError(f"{name}[{number}] is {_kind(turn)}, not an object with {shape.role} and {shape.content}")
        role = ROLES.get(str(turn.get(shape.role)))
        if role is None:
            raise _BadRowError(f"{name}[{number}].{shape.role} is {turn.get(shape.role)!r}, not one of system, user, assistant")
        try:
            content = _text(turn, shape.content)
        except _BadRowError as problem:
            raise _BadRowError(f"{name}[{number}]: {problem}") from None
        before = read[-1][0] if read else "the beginning"
        if role == "system" and read:
            raise _BadRowError(f"{name}[{number}] is a system turn after {before}; only the first can be one")
        if role == before or (role == "assistant" and before in ("system", "the beginning")):
            raise _BadRowError(f"{name}[{number}] is a turn of the {role} after {before}: user and assistant must take turns")
        read.append((role, content))
    if not any(role == "assistant" for role, _ in read):
        raise _BadRowError(f"{name} has no assistant turn: there is no answer to learn")
    return tuple(read)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return kinds[type(value)]
