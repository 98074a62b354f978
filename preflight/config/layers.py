"""YAML <- tier <- --set <- preflight's own paths, with where each value came from."""

import copy
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from preflight.config.secrets import check_secrets, masked, masked_text
from preflight.config.yaml_file import YamlFile, unfit
from preflight.findings import Finding, to_plain


class UsageError(Exception):
    """The command line itself is wrong; the message says how to write it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One value that a layer sets, by its dotted key."""

    key: str
    value: Any
    layer: str


@dataclass(frozen=True, kw_only=True)
class Config:
    """An Axolotl config after its layers, and the changes that made it from the user's file."""

    file: YamlFile
    values: Mapping[str, Any]
    changes: tuple[Change, ...] = ()
    run_name: str = ""  # where that is not the file's own

    @property
    def name(self) -> str:
        """The name of the run: its folder here, and on Drive."""
        return self.run_name or self.own_name

    @property
    def own_name(self) -> str:
        """The file's name, without its folder and ending."""
        return self.file.path.stem

    @property
    def needs_gpu(self) -> bool:
        """False for a config that says `device: cpu`, as smoke.yaml does."""
        return self.values.get("device") != "cpu"

    def where(self, key: str) -> str:
        """The place to edit: the file's line, or the layer that set the key."""
        layers = [change.layer for change in self.changes if change.key == key]
        return f"{layers[-1]} $.{key}" if layers else self.file.where(key)


def parse_override(text: str) -> Change:
    """`--set KEY=VALUE`, the value read as YAML. Raises UsageError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {masked_text(text)}: write it as KEY=VALUE, for example --set learning_rate=0.0001")
    try:
        change = Change(key=key.strip(), value=yaml.safe_load(value), layer="--set")
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:  # PyYAML's own for a date of month 99, a tag on nothing
        problem = getattr(error, "problem", None) or masked_text(str(error))
        raise UsageError(f"--set {masked_text(text)}: the value is not YAML: {problem}") from None
    if problem := unfit(f"{change.key}{change.value}"):
        raise UsageError(f"--set {change.key}: the value can't be used: {problem}")
    return change


def set_secrets_aside(file: YamlFile, changes: Sequence[Change]) -> tuple[tuple[YamlFile, tuple[Change, ...]], list[Finding]]:
    """The file and the changes with a mask for each secret in them, so that none comes into anything that is shown or written."""
    findings = check_secrets(file.values, file.where)
    kept = []
    for change in changes:
        nested = change.value
        for part in reversed(change.key.split(".")):
            nested = {part: nested}
        findings += check_secrets(nested, f"{change.layer} $.{{}}".format)
        kept.append(replace(change, value=_innermost(masked(nested), change.key)))
    return (replace(file, values=masked(file.values)), tuple(kept)), findings


def _innermost(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def with_changes(config: Config, changes: Iterable[Change]) -> tuple[Config, list[Finding]]:
    """The config with each change applied, in order; one that has no place to go is a finding."""
    values = copy.deepcopy(dict(config.values))
    applied, findings = [], []
    for change in changes:
        before = lookup(values, change.key)
        problem = _assign(values, change)
        if problem:
            where = f"{change.layer} $.{change.key}"
            findings.append(Finding(code="config.bad-value", level="error", where=where, message=problem, fix="name an entry that the YAML has"))
        elif change.value != before:
            applied.append(change)
    replaced = {change.key for change in applied}
    kept = tuple(change for change in config.changes if change.key not in replaced)
    return replace(config, values=values, changes=(*kept, *applied)), findings


def check_layer(layer: YamlFile, allowed: frozenset[str], may: str) -> list[Finding]:
    """`config.not-for-a-tier` for each key of a layer that is not `allowed` there; `may` says what the layer is for."""
    return [
        Finding(
            code="config.not-for-a-tier",
            level="error",
            where=layer.where(str(key)),
            message=f"{key}: {may}; it must not change the training result, so that a run can resume on another GPU",
            fix="set it in the config itself",
        )
        for key in layer.values
        if key not in allowed
    ]


def render(config: Config, command: str) -> str:
    """The resolved YAML: a comment that says which layer set each changed value, then the values."""
    origin = os.path.relpath(config.file.path)
    head = [f"# Written by preflight from {origin}. Edit that file, not this one.", f"# Launched by: {command}", "#"]
    head += [f"# {change.layer + ':':<16} {change.key} = {shown(change.value)}" for change in config.changes]
    comments = "\n".join(line if line.isprintable() else f"# {json.dumps(line[2:])}" for line in head)
    return f"{comments}\n\n" + yaml.safe_dump(dict(config.values), sort_keys=False, allow_unicode=True, width=1000)


def shown(value: Any) -> str:
    """A value on one line, as YAML writes it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True).removesuffix("\n").removesuffix("\n...")
    return text if text.isprintable() else json.dumps(to_plain(value), default=str)


def lookup(values: Any, key: str) -> Any:
    """The value at a dotted key, or None."""
    for part in key.split("."):
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def _assign(values: dict[str, Any], change: Change) -> str:
    """Set the value at its dotted key, making mappings on the way; return what is in the way, or ''."""
    target: Any = values
    *parents, last = change.key.split(".")
    for depth, part in enumerate(parents):
        if isinstance(target, dict):
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
        elif isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        else:
            return f"{'.'.join(parents[: depth + 1])} does not exist, so {change.key} can't be set"
    if isinstance(target, dict):
        target[last] = change.value
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = change.value
    else:
        return f"{'.'.join(parents)} holds {shown(target)}, which has no {last}"
    return ""
