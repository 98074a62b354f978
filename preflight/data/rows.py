"""Read the rows of a file, one at a time, by the strategy that their dataset entry asks for."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from preflight.data import formats
from preflight.data.advice import advise
from preflight.data.prompt_strategies import BadRowError, PromptStrategy, Row, guess_strategy
from preflight.data.prompt_strategies.base import NO_COLUMN, kind_of
from preflight.findings import Finding

SHOWN = 20  # kinds of bad rows of a file that are named; all bad rows are counted
UNASKED = 0.05  # of the rows of a file, up to which it goes without saying that no answer was found in them
KEPT = 64 << 10  # bytes of a bad row up to which its columns are kept, to say what would read them
HUGE = 8 << 20  # bytes; Axolotl cuts a row at 64 sequences, half a megabyte at 2,048 tokens of 4 bytes
MANY = 30  # columns
NAMES = re.compile(rb'"?[A-Za-z_][\w .-]*"?(?:[,;\t|]"?[\w .-]*"?)*')
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def guess_from(path: Path) -> PromptStrategy | None:
    """The strategy that reads the first row of a file, where no config says. Raises OSError."""
    with path.open("rb") as file:
        try:
            return guess_strategy(_parse(file.readline(HUGE).removeprefix(formats.BOM)))
        except BadRowError:
            return None


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


def read_rows(path: Path, strategy: PromptStrategy, start: int = 0, end: int | None = None, line: int = 0, kind: str = "json") -> Iterator[Row]:
    """Every row of a file of this format, in order, or of the stretch of plain JSON lines that has so many before it; none is held longer
    than it is looked at, and a huge one never. Where a file has no lines, the number of the row stands for it. Raises OSError."""
    try:
        if start or (kind == "json" and formats.layout(path) == "lines"):
            for row in _read_lines(path, strategy, start, end, line):
                line = row.line
                yield row
        elif kind == "json":
            for line, text in enumerate(formats.read_texts(path), 1):
                yield _row(line, text.encode("utf-8", "surrogatepass"), strategy)
        else:
            for line, columns in enumerate(formats.read_table(path, kind), 1):
                yield _of_columns(line, columns, strategy)
    except Exception as error:
        if not formats.is_damage(error):
            raise
        yield Row(line=line + 1, problem=f"the file can't be read on from here: {error}")


def _read_lines(path: Path, strategy: PromptStrategy, start: int, end: int | None, line: int) -> Iterator[Row]:
    with formats.open_bytes(path) as file:
        if start:
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
                raw = raw.removeprefix(formats.BOM)
                if _is_table(raw):
                    begins = raw[:40].decode("utf-8", "replace").strip()
                    yield Row(line=1, problem=f"the file holds no JSON; it begins with {begins}: if it is CSV, add ds_type: csv to its entry")
                    return
            if not raw.isspace():
                yield _row(line, raw, strategy)


def _is_table(first: bytes) -> bool:
    """Whether a file that begins with this line is CSV: names between commas, or one alone, and no JSON."""
    if not NAMES.fullmatch(first.strip()):
        return False
    try:
        json.loads(first)
    except ValueError:
        return True
    return False


@dataclass(frozen=True, kw_only=True)
class Problems:
    """The bad rows of a file, or of a part of it: for each thing that is wrong, the first row and how many there are."""

    found: dict[str, tuple[Row, int]] = field(default_factory=dict)  # the first SHOWN

    def add(self, row: Row, count: int = 1) -> None:
        first, before = self.found.get(row.problem, (row, 0))
        if before or len(self.found) < SHOWN:
            self.found[row.problem] = first, before + count

    def extend(self, later: "Problems") -> None:
        for row, count in later.found.values():
            self.add(row, count)


def check_rows(path: Path, problems: Problems, bad: int, rows: int = 0) -> list[Finding]:
    """`data.bad-row` and `data.huge-row`, one for each thing that is wrong; `data.wrong-columns` where it is the same in all rows and they
    are of another shape than the config says. `rows` are those of the file."""
    findings, named = [], 0
    for row, count in problems.found.values():
        named += count
        if count == rows and rows > 1 and row.problem.startswith(NO_COLUMN):
            findings.append(_wrong_columns(path, row, rows))
            continue
        findings.append(
            Finding(
                code="data.huge-row" if row.huge else "data.bad-row",
                level="error",
                where=f"{path}:{row.line}",
                message=row.problem if count == 1 else f"{count:,} rows, the first in line {row.line:,}: {row.problem}",
                fix="delete the row, or cut what bloats it (a schema with its data, most often)" if row.huge else "fix or delete the row",
            )
        )
    if bad > named:
        message = f"{bad:,} bad rows in all; the first {SHOWN} kinds are shown"
        findings.append(Finding(code="data.bad-row", level="error", where=str(path), message=message, fix="fix what wrote the file"))
    return findings


def _wrong_columns(path: Path, row: Row, rows: int) -> Finding:
    message = f"all {rows:,} rows are of another shape than the config says: {row.problem}"
    lines = advise(row.columns)
    fix = f"in each entry of datasets and test_datasets, in the place of its type: {lines}" if lines else "name the columns of the rows in the config"
    return Finding(code="data.wrong-columns", level="error", where=f"{path}:{row.line}", message=message, fix=fix)


def check_asked(path: Path, lines: Sequence[int], rows: int) -> list[Finding]:
    """`data.no-answer`: rows of which too many have no answer that is told from the rest, so that it is not judged."""
    if len(lines) <= UNASKED * rows:
        return []
    message = f"in {len(lines):,} of {rows:,} rows no answer is told from the question, so SQL, leaks and the evaluation leave them out; "
    message += f"the first in line {lines[0]:,}"
    fix = "name what ends the question: --set 'answer_marker=### My answer:'; or end it with [/INST], or a line ### SQL: or Answer:; "
    fix += "or keep both in columns of their own (axolotl_configs/mistral_qlora_instruct.yaml)"
    return [Finding(code="data.no-answer", level="warning", where=f"{path}:{lines[0]}", message=message, fix=fix)]


def check_near_empty(path: Path, lines: Sequence[int]) -> list[Finding]:
    """`data.empty-answer`: rows whose answer says nothing."""
    if not lines:
        return []
    message = f"{len(lines):,} answers are empty or nearly so; the first in line {lines[0]}"
    return [Finding(code="data.empty-answer", level="warning", where=f"{path}:{lines[0]}", message=message, fix="delete these rows")]


def _of_columns(line: int, columns: dict[str, Any], strategy: PromptStrategy) -> Row:
    try:
        return strategy.parse(line, columns)
    except BadRowError as problem:
        return Row(line=line, problem=str(problem), columns=columns)


def _row(line: int, raw: bytes, strategy: PromptStrategy) -> Row:
    values: dict[str, Any] = {}
    try:
        values = _parse(raw)
        return strategy.parse(line, values)
    except BadRowError as problem:
        return Row(line=line, problem=str(problem), columns=values if len(raw) < KEPT else {})


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8").strip(" \t\r\n")
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}") from None
    try:
        values, end = DECODER.raw_decode(text)
        if end < len(text):
            raise json.JSONDecodeError("Extra data", text, end)
    except json.JSONDecodeError as error:
        if text.startswith("["):
            raise BadRowError("a list over several lines, not one object a line; jq -c '.[]' writes it as such") from None
        ends = "; the row is cut off" if error.pos >= len(text) or error.msg.startswith("Unterminated") else ""
        raise BadRowError(f"not JSON: {error.msg} at position {error.pos}{ends}") from None
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise BadRowError(f"{kind_of(values)}, not an object with columns")
    # cheap, and seldom true: then look closely. A row of very many columns is parsed again, which is linear
    if len(values) > MANY or any(raw.count(b'"%s"' % key.encode("utf-8", "replace")) > 1 for key in values):
        json.loads(text, object_pairs_hook=_no_duplicates)
    return values


def _refuse(constant: str) -> NoReturn:
    raise BadRowError(f"{constant} is not JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadRowError(f"the key {key} is in the row twice")
        found[key] = value
    return found
