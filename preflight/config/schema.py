"""Is each key and value one that the pinned Axolotl knows. The schema is generated: scripts/generate_schema.py."""

import copy
import difflib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from preflight.config.layers import Config, lookup
from preflight.config.unusable import find_unusable, short
from preflight.config.values import dataset_entries
from preflight.files import CONFIGS
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
SCHEMA = CONFIGS / "schema/axolotl.json"
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


@cache
def read_schema(path: Path = SCHEMA) -> Mapping[str, Any]:
    """A JSON schema as `make schema` wrote it, by default that of Axolotl's config, in which `x-plugins` lists the keys that each bundled
    plugin adds."""
    schema: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One key or value that the schema does not take."""

    path: str  # dotted
    finding: Finding
    meant: str = ""  # the key that an unknown one is nearest to


def find_problems(config: Config, schema: Mapping[str, Any], reader: str = "Axolotl") -> list[Problem]:
    """Each key, at any depth, that the schema does not have, with the nearest one it has, and each value that it does not take.
    `reader` is the program that would read the config."""
    problems = [Problem(path=path, finding=finding) for path, finding in find_unusable(config, _numeric(schema))]
    found = Draft202012Validator(schema).iter_errors(dict(config.values))
    for error in chain.from_iterable(map(_leaves, found)):
        path = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            known, there = sorted(_properties(error)), dict(error.instance)  # type: ignore[arg-type]
            problems += [_unknown_key(config, f"{path}.{key}".lstrip("."), known, there, reader) for key in _extra(error)]
        else:
            problems.append(_bad_value(config, path, error))
    # one value may break two rules with one message
    return sorted(dict.fromkeys(problems), key=lambda problem: config.file.lines.get(problem.path, 0))


def _numeric(schema: Mapping[str, Any]) -> list[str]:
    """The keys that take a number."""
    options = {key: (option, *option.get("anyOf", ())) for key, option in schema.get("properties", {}).items()}
    return [key for key, found in options.items() if any(one.get("x-kind") == "number" for one in found)]


def repaired(config: Config, problems: Sequence[Problem]) -> Config:
    """The config with misspelt keys spelt right and wrong values left out, so that the rest can be judged in the same run."""
    values = copy.deepcopy(dict(config.values))
    for problem in problems:
        parent, _, name = problem.path.rpartition(".")
        held = lookup(values, parent) if parent else values
        if isinstance(held, dict) and name in held:
            value = held.pop(name)
            if problem.meant:
                held.setdefault(problem.meant, value)
    return replace(config, values=values)


def check_plugin_keys(config: Config, schema: Mapping[str, Any]) -> list[Finding]:
    """An error for each key that only a plugin knows which `plugins` does not list."""
    named = config.values.get("plugins")
    plugins = named if isinstance(named, list) else []  # what is none is a bad value already
    absent = {key: plugin for plugin, keys in schema["x-plugins"].items() for key in keys if plugin not in plugins}
    return [
        Finding(
            code="config.unknown-key",
            level="error",
            where=config.where(key),
            message=f"{key}: only {absent[key]} knows this key, and `plugins` does not list it",
            fix=f"add it to plugins:\n  - {absent[key]}",
        )
        for key in config.values
        if key in absent
    ]


def check_deprecated(config: Config, schema: Mapping[str, Any]) -> list[Finding]:
    """A warning for each key that Axolotl only knows in order to refuse or rename it, with what it says of it."""
    findings = []
    for path, name, properties in _keys(config.values, schema):
        if config_sets(lookup(config.values, path)) and properties.get(name, {}).get("deprecated"):
            message = f"{path}: {properties[name].get('description', 'deprecated')}"
            findings.append(
                Finding(code="config.deprecated-key", level="warning", where=config.where(path), message=message, fix="write the new key")
            )
    return findings


def config_sets(value: Any) -> bool:
    """Whether a value asks for anything: Axolotl passes over old keys that hold false or nothing."""
    return value not in (None, False)


def _keys(values: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(dotted key, key, the schema's properties beside it) of the places where old keys live."""
    places = {"": schema, "fsdp_config": schema["$defs"]["FSDPConfig"]}
    places |= {key: schema["$defs"]["SFTDataset"] for key, _ in dataset_entries(values, "datasets")}
    for place, held in places.items():
        mapping = lookup(values, place) if place else values
        for key in mapping if isinstance(mapping, Mapping) else ():
            yield f"{place}.{key}".lstrip("."), str(key), held["properties"]


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """The errors at the bottom of one: of several alternatives, those of the one that the value was nearest to."""
    if not error.context:
        yield error
        return
    branches = [list(group) for _, group in groupby(sorted(error.context, key=_branch), key=_branch)]
    # an alternative whose very kind the value is not (a list in the place of a mapping) was not the intended one
    meant = [
        branch
        for branch in branches
        if not any(inner.validator in ("type", "enum", "const", "pattern") and not inner.relative_path for inner in branch)
    ]
    if not meant:
        yield error
        return
    leaves = [[leaf for inner in branch for leaf in _leaves(inner)] for branch in meant]
    yield from min(leaves, key=lambda branch: sum(len(_extra(leaf)) for leaf in branch))


def _branch(error: ValidationError) -> int:
    return int(error.relative_schema_path[0])


def _extra(error: ValidationError) -> Sequence[str]:
    """The keys of a mapping that its schema does not have; for any other error one entry, so that it counts."""
    if error.validator != "additionalProperties":
        return [""]
    return [str(key) for key in dict(error.instance) if key not in _properties(error)]  # type: ignore[arg-type]


def _properties(error: ValidationError) -> Mapping[str, Any]:
    """The keys that the mapping may hold where the error was found."""
    return error.schema["properties"] if isinstance(error.schema, Mapping) and isinstance(error.instance, Mapping) else {}


def _unknown_key(config: Config, path: str, known: Sequence[str], there: Container[str], reader: str) -> Problem:
    name = path.rpartition(".")[2]
    near = [OTHER_NAMES[name]] if OTHER_NAMES.get(name) in known else []
    near = near or difflib.get_close_matches(name, [key for key in known if key not in there], n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.75)  # a key that is set already is an unlikely match
    finding = Finding(
        code="config.unknown-key",
        level="error",
        where=config.where(path),
        message=f"{path}: unknown key; Axolotl would silently ignore it"
        if reader == "Axolotl"
        else f"{path}: unknown key; {reader} does not read it",
        fix=f"did you mean {near[0]}?" if near else "delete it",
    )
    return Problem(path=path, finding=finding, meant=near[0] if near else "")


def _bad_value(config: Config, path: str, error: ValidationError) -> Problem:
    taken = list(dict.fromkeys(_kinds(error.schema, config))) if error.validator != "required" else []
    message = f"{path}: {short(error.instance)} is not {' or '.join(taken)}" if taken else f"{path}: {error.message}".removeprefix(": ")
    fix = f"write {taken[0]}" if taken else "write what is allowed"
    if error.instance is None and taken:
        fix = f"delete the line, or write {taken[0]}"
    if isinstance(error.instance, bool) and "text" in taken[:1]:
        fix = f'write the word in quotes, {path}: "no": YAML reads no, off, yes and on as false and true'
    return Problem(path=path, finding=Finding(code="config.bad-value", level="error", where=config.where(path), message=message, fix=fix))


def _kinds(option: Any, config: Config) -> Iterator[str]:
    """What the option takes, in words."""
    option = _resolved(option)
    for branch in option.get("anyOf") or option.get("oneOf") or option.get("allOf") or ():
        yield from _kinds(branch, config)
    if "enum" in option or "const" in option:
        choices = option.get("enum", [option.get("const")])
        if choices != [0, 1]:  # how the schema spells that numbers are taken for truth values
            yield "one of " + ", ".join(str(choice) for choice in choices) if len(choices) > 1 else str(choices[0])
    elif (kind := option.get("x-kind") or option.get("type")) and kind != "null":
        limit = [f"{word} {option[name]}" for name, word in LIMITS.items() if name in option]
        yield " ".join([KINDS.get(str(kind), str(kind)), *limit])


LIMITS = {"minimum": "from", "maximum": "up to", "exclusiveMinimum": "above", "exclusiveMaximum": "below", "minItems": "of a length from"}


def _resolved(option: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = str(option.get("$ref", ""))
    held: Mapping[str, Any] = read_schema()["$defs"][reference.rpartition("/")[2]] if reference else option
    return held
