"""Whether a file of weights can be those of a trained adapter: its header, its length, and tensors that hold nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from preflight.files import CHUNK

HOLE = bytes(4096)  # a block that never reached the disk; no weight of a trained lora_A is exactly zero, let alone a thousand in a row


def read_weights_problem(path: Path) -> str:
    """What is wrong with a safetensors file, or ''. Raises OSError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass  # it compares the header's offsets with the length of the file
    except (SafetensorError, OSError) as error:
        return f"it is damaged: {error}"
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        places = {name: held["data_offsets"] for name, held in header.items() if name != "__metadata__"}
        if all(_is_zero(file, start + first, start + last) for first, last in places.values()):
            return "it holds only zeros"
        for name, (first, last) in places.items():
            if "lora_A" not in name:  # lora_B begins as zeros, and in a frozen layer stays so
                continue
            if _is_zero(file, start + first, start + last):
                return f"{name} holds only zeros"
            if any(HOLE in chunk for chunk in _chunks(file, start + first, start + last)):
                return f"{name} has a hole of {len(HOLE)} zeros, as a write that did not reach the disk leaves it"
    return ""


def _is_zero(file: IO[bytes], first: int, last: int) -> bool:
    return all(not chunk.strip(b"\0") for chunk in _chunks(file, first, last))


def _chunks(file: IO[bytes], first: int, last: int) -> Iterator[bytes]:
    file.seek(first)
    while first < last and (chunk := file.read(min(CHUNK, last - first))):
        first += len(chunk)
        yield chunk
