"""Is each key one that the pinned Axolotl knows. The schema is generated: scripts/generate_schema.py."""

import contextlib
import difflib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from preflight.config import CONFIGS, Config
from preflight.findings import Finding

# what TRL, transformers and the user's plan call them
OTHER_NAMES = {
    "lora_rank": "lora_r",
    "r": "lora_r",
    "target_modules": "lora_target_modules",
    "max_seq_length": "sequence_len",
    "max_length": "sequence_len",
    "packing": "sample_packing",
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "micro_batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "train_batch_size": "micro_batch_size",
    "optim": "optimizer",
    "lr_scheduler_type": "lr_scheduler",
    "report_to": "use_tensorboard",
    "model_name_or_path": "base_model",
}
SCHEMA = CONFIGS / "schema" / "axolotl.json"


@cache
def read_schema() -> Mapping[str, Any]:
    """The JSON schema of Axolotl's config; `x-plugins` lists the keys that each bundled plugin adds."""
    schema: Mapping[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def check_config(config: Config, schema: Mapping[str, Any]) -> list[Finding]:
    """Every key and every single value that Axolotl would not take as it is meant."""
    return check_keys(config, schema) + check_values(config, schema)


def check_keys(config: Config, schema: Mapping[str, Any]) -> list[Finding]:
    """An error for each key, at any depth, that Axolotl would drop in silence, with the nearest key it knows."""
    plugins = config.values.get("plugins") or []
    absent = {key: plugin for plugin, keys in schema["x-plugins"].items() for key in keys if plugin not in plugins}
    findings = []
    for key, known in _unknown(dict(config.values), [schema], schema, ""):
        name = key.rpartition(".")[2]
        near = [OTHER_NAMES[name]] if OTHER_NAMES.get(name) in known else difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        findings.append(
            _unknown_key(
                config, key, "Axolotl does not know this key and would drop it in silence", f"did you mean {near[0]}?" if near else "delete it"
            )
        )
    for key in config.values.keys() & absent.keys():
        findings.append(
            _unknown_key(config, key, f"only {absent[key]} knows this key, and `plugins` does not list it", f"add it to plugins:\n  - {absent[key]}")
        )
    return findings


def check_values(config: Config, schema: Mapping[str, Any]) -> list[Finding]:
    """An error for each single value of a type, or outside the choices, that Axolotl does not take for its key."""
    findings = []
    for key, value in config.values.items():
        options = list(_expand(schema["properties"].get(key, {}), schema))
        if not all(_is_scalar(option) for option in options):
            continue  # lists and mappings: Axolotl's own validation judges them
        if not any(Draft202012Validator(dict(option)).is_valid(reading) for option in options for reading in _readings(value)):
            message = f"{key}: {value!r} is not {' or '.join(_kind(option) for option in options)}"
            findings.append(Finding(code="config.bad-value", level="error", where=config.where(key), message=message, fix="write one of those"))
    return findings


def _is_scalar(option: Mapping[str, Any]) -> bool:
    return option.get("type") in ("string", "number", "integer", "boolean", "null") or "enum" in option or "const" in option


def _readings(value: Any) -> Iterator[Any]:
    """The value, and what pydantic makes of it: YAML reads 2e-4 as text, and Axolotl as a number."""
    yield value
    if isinstance(value, str):
        for read in (int, float):
            with contextlib.suppress(ValueError):
                yield read(value)


def _kind(option: Mapping[str, Any]) -> str:
    if "enum" in option:
        return " or ".join(str(choice) for choice in option["enum"])
    return str(option.get("const", option.get("type")))


def _unknown_key(config: Config, key: str, message: str, fix: str) -> Finding:
    return Finding(code="config.unknown-key", level="error", where=config.where(key), message=f"{key}: {message}", fix=fix)


def _unknown(value: Any, options: list[Mapping[str, Any]], root: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[str]]]:
    """(dotted key, the keys known in its place) for each key that no option of the schema has."""
    options = [option for branch in options for option in _expand(branch, root)]
    if isinstance(value, Mapping):
        objects = [option for option in options if "properties" in option]
        if not objects or any(option.get("additionalProperties") not in (None, False) for option in options):
            return  # a free-form mapping
        known = sorted({key for option in objects for key in option["properties"]})
        for key, item in value.items():
            if key not in known:
                yield f"{prefix}{key}", known
            else:
                yield from _unknown(item, [o["properties"][key] for o in objects if key in o["properties"]], root, f"{prefix}{key}.")
    elif isinstance(value, list):
        items = [option["items"] for option in options if "items" in option]
        for index, item in enumerate(value):
            yield from _unknown(item, items, root, f"{prefix}{index}.")


def _expand(option: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The option with references followed and alternatives laid side by side."""
    if "$ref" in option:
        yield from _expand(root["$defs"][option["$ref"].rpartition("/")[2]], root)
    elif alternatives := option.get("anyOf") or option.get("oneOf") or option.get("allOf"):
        for alternative in alternatives:
            yield from _expand(alternative, root)
    else:
        yield option
