"""The formats that Axolotl loads rows from, and the columns of each row as its loader gives them (utils/data/shared.py of axolotl 0.19, and
datasets 4.8 behind it)."""

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

BY_NAME = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".txt": "text"}  # wherever it is in the path; all else is JSON
SUFFIXES = (".jsonl", ".json", ".ndjson", *BY_NAME, ".gz", ".bz2", ".xz", ".zst")
NEEDS = {"parquet": "pyarrow", "arrow": "pyarrow", "csv": "pandas"}
ZIP, ZSTD = b"PK\x03\x04", b"\x28\xb5\x2f\xfd"
# by the first bytes, whatever the name
OPENERS: Mapping[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": lambda path: gzip.open(path, "rb"),  # noqa: SIM115
    b"BZh": lambda path: bz2.open(path, "rb"),  # noqa: SIM115
    b"\xfd7zXZ\x00": lambda path: lzma.open(path, "rb"),  # noqa: SIM115
    ZSTD: lambda path: _open_zstd(path),
}
BOM = b"\xef\xbb\xbf"
BLOCK, HUGE = 1 << 20, 8 << 20  # characters of a JSON list that are read at once; those of a row at which reading ends
BATCH, TABLE_ROWS = 1_000, 10_000  # rows of a table held at once; of a CSV file, whose columns get their types so many at a time, as in datasets
BETWEEN, DECODER = re.compile(r"[\s,]*"), json.JSONDecoder()


class UnreadableError(Exception):
    """Why a file, or the rest of it, can't be read, in words."""


def is_damage(error: Exception) -> bool:
    """Whether this is the fault of what a file holds, and not of the disk."""
    damaged = (UnreadableError, EOFError, zlib.error, lzma.LZMAError)
    return isinstance(error, damaged) or (isinstance(error, OSError) and error.errno is None) or type(error).__name__ == "ZstdError"


def format_of(path: str, ds_type: Any = None) -> str:
    """The format that Axolotl reads a file as."""
    return str(ds_type) if ds_type else next((kind for part, kind in BY_NAME.items() if part in path), "json")


def unread(path: Path, kind: str) -> str:
    """Why the rows of a file can't be read here though Axolotl may read them, or ''. Raises OSError."""
    first = _first(path)
    needed = NEEDS.get(kind) or ("zstandard" if first.startswith(ZSTD) else "")
    if needed and importlib.util.find_spec(needed) is None:
        return f"{path.name} needs the package {needed}, which is not installed here"
    if kind not in ("json", "text", *NEEDS):
        return f"files of ds_type {kind} are not read here"
    return f"{path.name} is a zip archive, which is not looked into here" if first.startswith(ZIP) else ""


def is_seekable(path: Path, kind: str) -> bool:
    """Whether a file is plain JSON lines, which can be read from any line on. Raises OSError."""
    return kind == "json" and _opener(_first(path)) is None and layout(path) == "lines"


def open_bytes(path: Path) -> IO[bytes]:
    """The file's content, unpacked where it is compressed. Raises OSError."""
    opener = _opener(_first(path))
    return opener(path) if opener else path.open("rb")


def layout(path: Path) -> str:
    """How a JSON file holds its rows: in `lines`, in a `list`, or as `values` over several lines, one after the other. Raises OSError."""
    try:
        with open_bytes(path) as file:
            first = next((line for line in iter(lambda: file.readline(BLOCK), b"") if not line.isspace()), b"")
    except Exception as error:
        if not is_damage(error):
            raise
        return "lines"  # whose reader says what is wrong
    first = first.removeprefix(BOM).strip()
    return "list" if first.startswith(b"[") else "values" if first == b"{" else "lines"


def count_rows(path: Path, kind: str) -> int:
    """How many rows a file has, as far as it can be read. Raises OSError."""
    count = 0
    if unread(path, kind):
        return count
    try:
        if kind == "json" and layout(path) == "lines":
            with open_bytes(path) as file:
                return sum(not line.isspace() for line in file)
        if kind == "parquet":
            from pyarrow.parquet import ParquetFile

            return int(ParquetFile(path).metadata.num_rows)
        for _ in read_texts(path) if kind == "json" else read_table(path, kind):
            count += 1
    except Exception as error:  # the scan of the rows says why
        if not is_damage(error) and type(error).__name__ != "ArrowInvalid":
            raise
    return count


def read_texts(path: Path) -> Iterator[str]:
    """The JSON of each row of a file that is no lines; one that is no object is the column text, as it is to Axolotl. Raises UnreadableError,
    and what `is_damage` knows."""
    with io.TextIOWrapper(open_bytes(path), encoding="utf-8") as reader:
        text, place, ended = _more(reader), 0, False
        if listed := layout(path) == "list":
            if not text.startswith("["):
                raise UnreadableError("the list does not begin with the file's first byte: Axolotl reads none behind a blank or a byte order mark")
            text = text[1:]
        text, bare = text.removeprefix("\ufeff"), None
        while True:
            place = BETWEEN.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing as well
            if listed and text.startswith("]", place):
                return
            try:
                value, end = DECODER.raw_decode(text, place)
            except json.JSONDecodeError as error:
                if ended and place == len(text) and not listed:
                    return
                if ended:
                    raise UnreadableError(f"not JSON: {error.msg}; the file is cut off, or damaged here") from None
                if len(text) - place > HUGE:
                    raise UnreadableError(f"not JSON, or a row of more than {HUGE:,} bytes, which is no example: {error.msg}") from None
                end = len(text)
            except RecursionError as error:
                raise UnreadableError(f"not JSON: {error}") from None
            if end == len(text) and not ended:  # the rest may follow
                more = _more(reader)
                text, place, ended = text[place:] + more, 0, not more
                continue
            bare = not isinstance(value, dict) if bare is None else bare
            yield f'{{"text": {text[place:end]}}}' if bare and listed else text[place:end]
            place = end


def read_table(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The columns of each row of a table or a text. Raises UnreadableError, and what `is_damage` knows."""
    return {"parquet": _parquet, "arrow": _arrow, "csv": _csv, "text": _text}[kind](path)


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                yield from batch.to_pylist()
    except ArrowInvalid as error:
        raise UnreadableError(f"not parquet: {error}") from None


def _arrow(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow

    with path.open("rb") as file:
        try:
            try:
                batches: Any = pyarrow.ipc.open_stream(file)
            except pyarrow.ArrowInvalid:
                opened = pyarrow.ipc.open_file(path.open("rb"))
                batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
            for batch in batches:
                yield from batch.to_pylist()
        except pyarrow.ArrowInvalid as error:
            raise UnreadableError(f"not Arrow: {error}") from None


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    """As datasets reads it, so that columns of numbers are numbers, and NULL, NA and nothing at all are null."""
    import pandas
    import pyarrow

    with open_bytes(path) as file:
        try:
            for part in pandas.read_csv(file, chunksize=TABLE_ROWS):
                yield from pyarrow.Table.from_pandas(part).to_pylist()
        except (pandas.errors.ParserError, pandas.errors.EmptyDataError, UnicodeDecodeError, pyarrow.ArrowInvalid) as error:
            raise UnreadableError(f"not CSV: {str(error).strip().removeprefix('Error tokenizing data. C error: ')}") from None


def _text(path: Path) -> Iterator[dict[str, Any]]:
    with io.TextIOWrapper(open_bytes(path), encoding="utf-8") as file:
        try:
            for line in file:
                yield {"text": line.rstrip("\n")}
        except UnicodeDecodeError as error:
            raise UnreadableError(f"not UTF-8: {error.reason}") from None


def _more(reader: io.TextIOWrapper) -> str:
    try:
        return reader.read(BLOCK)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8: byte 0x{error.object[error.start]:02x}") from None


def _first(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _opener(first: bytes) -> Callable[[Path], IO[bytes]] | None:
    return next((opener for magic, opener in OPENERS.items() if first.startswith(magic)), None)


def _open_zstd(path: Path) -> IO[bytes]:
    import zstandard

    stream: IO[bytes] = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb")))
    return stream
