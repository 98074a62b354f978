"""Read a YAML file strictly: duplicate keys, tags and anchors that expand without bound are findings, not surprises."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from preflight.findings import Finding

MAX_BYTES = 1_000_000  # the longest config among Axolotl's own 250 examples has 5 kB
MAX_NODES = 100_000  # after anchors are expanded


@dataclass(frozen=True, kw_only=True)
class YamlFile:
    """A mapping read from a file, with the line of each key ("datasets.0.path" -> 12)."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """`file:line $.key`, as findings show it."""
        line = self.lines.get(key)
        return f"{self.path}{f':{line}' if line else ''} $.{key}"


def read_yaml(path: Path) -> tuple[YamlFile | None, list[Finding]]:
    """The file's mapping, or None and the findings that say why not."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None, [_unreadable(path, f"{path.stat().st_size:,} bytes is no config", "give a YAML file of Axolotl settings")]
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None, [_unreadable(path, "no such file", "the shipped configs are in axolotl_configs/: ls axolotl_configs/*.yaml")]
    except IsADirectoryError:
        return None, [_unreadable(path, "this is a folder", "give a YAML file in it")]
    except UnicodeDecodeError as error:
        return None, [_unreadable(path, f"not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8")]
    except OSError as error:
        return None, [_unreadable(path, f"can't be read: {error.strerror}", "check its permissions")]

    lines: dict[str, int] = {}
    findings: list[Finding] = []
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode):
            kind = "empty" if node is None else f"a {'list' if isinstance(node, yaml.SequenceNode) else 'single value'}"
            return None, [_unreadable(path, f"the file is {kind}, not a mapping of settings", "write one `key: value` a line")]
        for count, (key, item, duplicate) in enumerate(_walk(node, "")):
            if count > MAX_NODES:
                return None, [_unreadable(path, f"its anchors expand to more than {MAX_NODES:,} values", "write the values out")]
            if duplicate:
                findings.append(
                    _unreadable(
                        path,
                        f"duplicate key {key}, first in line {lines[key]}",
                        "delete one of the two",
                        item.start_mark.line + 1,
                    )
                )
            lines.setdefault(key, item.start_mark.line + 1)
        values = yaml.safe_load(text)
    except RecursionError:
        return None, [_unreadable(path, "it is nested too deep", "write it flatter")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if "tag:yaml.org,2002:python/" in str(error):
            message = f"a Python tag, which would run code: {error.problem}"
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            return None, [Finding(code="config.unsafe-code", level="error", where=where, message=message, fix="write a plain value")]
        hint = "use spaces in place of tabs" if "'\\t'" in str(error) else "fix the YAML in this line"
        return None, [_unreadable(path, f"not valid YAML: {error.problem or error.context}", hint, mark.line + 1 if mark else 0)]
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-99-99
        return None, [_unreadable(path, f"not valid YAML: {error}", "fix the YAML")]
    return (None if findings else YamlFile(path=path, values=values, lines=lines)), findings


def _unreadable(path: Path, message: str, fix: str, line: int = 0) -> Finding:
    return Finding(code="config.unreadable", level="error", where=f"{path}{f':{line}' if line else ''}", message=message, fix=fix)


def unfit(text: str) -> str:
    """Why a text can be no value or path, or ''."""
    if "\0" in text:
        return "it holds a NUL character"
    return "" if text.isascii() or text.encode("utf-8", "replace").decode() == text else "it holds half a surrogate pair, which is no character"


def _walk(node: yaml.Node, prefix: str) -> Iterator[tuple[str, yaml.Node, bool]]:
    """Every key below `node` with the node that names it, and whether the same mapping named it before. Raises yaml.MarkedYAMLError for
    a key that is no plain value, and for a text that can be none."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is a list or a mapping", problem_mark=key.start_mark)
            path = f"{prefix}{key.value}"
            yield path, key, key.value in seen
            if key.tag != "tag:yaml.org,2002:merge":
                seen.add(key.value)
            yield from _walk(value, f"{path}.")
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{prefix}{index}", item, False
            yield from _walk(item, f"{prefix}{index}.")
    elif problem := unfit(node.value):
        raise yaml.MarkedYAMLError(problem=f"a text can't be used: {problem}", problem_mark=node.start_mark)
