"""Values of the right kind that nothing can be done with: numbers that no run can be counted with, names that no file can have."""

import math
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from preflight.config.layers import Config
from preflight.config.values import entries_at_any_depth
from preflight.findings import Finding

LARGEST = 2**63
# keys whose value is looked for on the disk, where the system would refuse even to look
PATHS = frozenset(
    [
        "base_model",
        "base_model_config",
        "tokenizer_config",
        "processor_config",
        "path",
        "data_files",
        "output_dir",
        "dataset_prepared_path",
        "lora_model_dir",
        "resume_from_checkpoint",
        "deepspeed",
        "chat_template_jinja",
    ]
)
LONGEST_PATH, LONGEST_NAME = 3000, 255  # bytes; Linux takes 4,096 with what the kit puts before and behind it


def find_unusable(config: Config, numeric: Collection[str] = ()) -> Iterator[tuple[str, Finding]]:
    """(dotted key, `config.bad-value`) of each of them. Under a `numeric` key a text is read as a number, as Axolotl reads it: nan, inf, 1e400."""

    def bad(path: str, what: str, fix: str) -> tuple[str, Finding]:
        return path, Finding(code="config.bad-value", level="error", where=config.where(path), message=f"{path}: {what}", fix=fix)

    texts = ((key, config.values[key]) for key in numeric if isinstance(config.values.get(key), str))
    for path, value in (*_unusable_numbers(config.values, ""), *((key, text) for key, text in texts if _is_endless(text))):
        yield bad(path, f"{short(value)} is no number that a run can be counted with", "write a smaller number")
    for path, key, value in entries_at_any_depth(config.values):
        if key in PATHS and isinstance(value, str) and _is_too_long(value):
            yield bad(path, f"a name of {len(value):,} characters, which no file can have", "write a shorter one")


def _unusable_numbers(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every number that no run can be counted with: not finite, or past what 64 bits hold."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unusable_numbers(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unusable_numbers(item, f"{path}.{index}".lstrip("."))
    elif isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        yield path, value


def _is_endless(text: str) -> bool:
    """Whether a text is a number, and no finite one."""
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


def _is_too_long(path: str) -> bool:
    return len(os.fsencode(path)) > LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.split("/"))


def short(value: Any) -> str:
    """The value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
