"""Read the rows, one at a time."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.findings import Finding

SHOWN = 20  # bad rows that are named; all are counted


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a JSONL file: its text or its messages, or what is wrong with it."""

    line: int
    text: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""


def shape_of(entry: Mapping[str, Any]) -> str:
    """`text` or `messages`, as a dataset entry's `type` asks for, or '' for a shape that is not read here."""
    return {"completion": "text", "chat_template": "messages"}.get(str(entry.get("type")).partition(".")[0].partition(":")[0], "")


def read_rows(path: Path, entry: Mapping[str, Any]) -> Iterator[Row]:
    """Every row of a JSONL file, in order, read as its dataset entry says. Raises OSError."""
    shape = shape_of(entry)
    column = str(entry.get("field") or "text") if shape == "text" else str(entry.get("field_messages") or "messages")
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            if raw.strip():
                yield _row(line, raw, shape, column)


def check_rows(path: Path, problems: list[Row]) -> list[Finding]:
    """`data.bad-row` for the first of the bad rows, with how many there are."""
    findings = [
        Finding(code="data.bad-row", level="error", where=f"{path}:{row.line}", message=row.problem, fix="mend or delete the row")
        for row in problems[:SHOWN]
    ]
    if len(problems) > SHOWN:
        message = f"{len(problems):,} bad rows in all; the first {SHOWN} are shown"
        findings.append(Finding(code="data.bad-row", level="error", where=str(path), message=message, fix="mend what made the file"))
    return findings


def _row(line: int, raw: bytes, shape: str, column: str) -> Row:
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return Row(line=line, problem=f"not JSON: {error}")
    if not isinstance(values, dict):
        return Row(line=line, problem=f"a {type(values).__name__}, not an object with the column {column}")
    if column not in values:
        return Row(line=line, problem=f"no column {column}; the columns are {', '.join(list(values)[:8])}")
    value = values[column]
    if shape == "text":
        return Row(line=line, text=value) if isinstance(value, str) else Row(line=line, problem=f"{column} is {type(value).__name__}, not text")
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return Row(line=line, messages=tuple(value))
    return Row(line=line, problem=f"{column} is not a list of messages")
