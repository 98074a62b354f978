"""The files and folders that a config names beside its rows: what Axolotl looks for from the current folder, and does not find."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.config.layers import Config
from preflight.config.values import dataset_entries
from preflight.files import MALFORMED
from preflight.findings import Finding
from preflight.machine.platforms.base import CONFIG_ROOT


@dataclass(frozen=True, kw_only=True)
class Place:
    """Something that a key names and that can't be used."""

    key: str  # dotted
    path: str
    problem: str
    fix: str


def named_places(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(dotted key, path) of each: not names on the hub, nor a template that is written out."""
    found = [(key, value) for key in ("resume_from_checkpoint", "deepspeed") if isinstance(value := values.get(key), str) and value]
    for key in ("lora_model_dir", "tokenizer_config", "base_model_config"):
        if isinstance(value := values.get(key), str) and is_path(value):
            found.append((key, value))
    holders = {"chat_template_jinja": values} | {f"{key}.chat_template_jinja": entry for key, entry in dataset_entries(values)}
    for key, holder in holders.items():
        text = holder.get("chat_template_jinja")
        if isinstance(text, str) and text.strip() and "\n" not in text.strip() and "{{" not in text and "{%" not in text:
            found.append((key, text))
    return found


def is_path(name: str) -> bool:
    """Whether a name that may be the hub's is a path, by its form or because its first folder is there."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or (bool(name) and Path(name.partition("/")[0]).is_dir())


def inspect_places(named: list[tuple[str, str]]) -> list[Place]:
    """Those that can't be used."""
    return [
        Place(key=key, path=path, problem=problem, fix=fix)
        for key, path in named
        for problem, fix in LOOKS[key.rpartition(".")[2]](Path(path))  # as Axolotl does: `~` is a name like any other
    ]


def check_places(config: Config, places: list[Place], *, plan: bool) -> list[Finding]:
    """`config.missing-file` for each; in a plan only a warning for what lies below /content, which may be another machine's."""

    def level(path: str) -> Any:
        return "warning" if plan and Path(path).is_relative_to(CONFIG_ROOT) else "error"

    return [
        Finding(
            code="config.missing-file",
            level=level(place.path),
            where=config.where(place.key),
            message=f"{place.key}: {place.problem}",
            fix=place.fix,
        )
        for place in places
    ]


def _checkpoint(path: Path) -> Iterator[tuple[str, str]]:
    beside = sorted(path.parent.glob("checkpoint-*"), key=lambda one: (len(one.name), one.name)) if path.parent.is_dir() else []
    fix = f"resume_from_checkpoint: {beside[-1]}" if beside else "delete the line: preflight finds the newest complete checkpoint of this run itself"
    if not path.is_dir():
        yield f"there is no folder {path}: training would stop", fix
    elif not (path / "trainer_state.json").is_file():
        yield f"{path} is no checkpoint, it has no trainer_state.json: training would stop", fix


def _deepspeed(path: Path) -> Iterator[tuple[str, str]]:
    fix = "name one that is there, such as `axolotl fetch deepspeed_configs` brings; on one GPU delete the line"
    if not path.is_file():
        yield f"there is no file {path}: training would stop", fix
        return
    try:
        if not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
            yield f"{path} is no settings of DeepSpeed, which are a JSON mapping", fix
    except (OSError, *MALFORMED):
        yield f"{path} can't be read as JSON", fix


def _folder(name: str, what: str) -> Callable[[Path], Iterator[tuple[str, str]]]:
    def look(path: Path) -> Iterator[tuple[str, str]]:
        if not (path / name).is_file():
            yield f"there is no {what} at {path}, it has no {name}: training would stop", "correct the path, or delete the line"

    return look


def _template(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        yield f"{path} is no file and holds no {{{{ }}}}: each row would become these very letters", "correct the path, or write the template itself"


LOOKS: Mapping[str, Callable[[Path], Iterator[tuple[str, str]]]] = {
    "resume_from_checkpoint": _checkpoint,
    "deepspeed": _deepspeed,
    "lora_model_dir": _folder("adapter_config.json", "adapter"),
    "tokenizer_config": _folder("tokenizer_config.json", "tokenizer"),
    "base_model_config": _folder("config.json", "config of a model"),
    "chat_template_jinja": _template,
}
