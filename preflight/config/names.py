"""What a run is called: the name of its folder here and on Drive, its own or made from what `--set` changes in the experiment."""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight.config.keys import MAY_CHANGE, STEP_KEYS
from preflight.config.layers import Change, Config, lookup, set_secrets_aside, with_changes
from preflight.config.values import step_size
from preflight.config.yaml_file import YamlFile, read_yaml
from preflight.files import MALFORMED
from preflight.findings import to_plain
from preflight.machine.run_folder import EVENTS, RunFolder
from preflight.machine.workspace import Workspace

LONGEST = 80  # characters of a name; file systems take 255 bytes, and a letter can take 4
MARKS = "-_.+"  # of a name, beside letters and digits
CHECKPOINT = "checkpoint-"  # what such folders of a run are called


def name_problem(name: str) -> str:
    """Why no run can be called so, with a name that it could have, or ''."""
    name = unicodedata.normalize("NFC", name)
    fit = _fit(name).strip(".-") or "run-1"
    if not name.strip():
        return f"a run needs a name, such as {fit}"
    if any(not _fits(letter) for letter in name):
        return f"a name has letters, digits and {' '.join(MARKS)}, since it is the name of a folder: {fit[:LONGEST]}"
    if len(name) > LONGEST:
        return f"a name has at most {LONGEST} characters: {fit[:LONGEST]}"
    if name.startswith((".", "-")):
        return f"a name begins with a letter or a digit: {fit}"
    if name.startswith(CHECKPOINT) or name == EVENTS:
        return f"a run's own folders are called so: run-{name}"
    return ""


def default_name(file: YamlFile, overrides: Sequence[Change]) -> str:
    """The config's own name, with what `--set` changes of the experiment behind it."""
    (file, changes), _ = set_secrets_aside(file, overrides)
    try:
        changed, _ = with_changes(Config(file=file, values=file.values), changes)
        parts = sorted(_parts(file.values, changed))
    except MALFORMED:  # values that are wrong, which the schema says
        return file.path.stem
    name = "-".join([file.path.stem, *parts])
    if not parts or len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9].rstrip(MARKS)}-{_digest(name)}"


def _parts(before: Mapping[str, Any], after: Config) -> Iterator[str]:
    """A word for each change of the experiment. Where a step is only shared out otherwise, none is; nor by the folder that rows lie in."""
    same_step = step_size(before) == step_size(after.values)
    for key in {change.key for change in after.changes}:
        top, earlier, value = key.partition(".")[0], lookup(before, key), lookup(after.values, key)
        if value == earlier or (top in MAY_CHANGE and (top not in STEP_KEYS or same_step)):
            continue
        if top in ("datasets", "test_datasets") and key.endswith(".path"):
            if Path(str(value)).name != Path(str(earlier)).name:
                yield _word(key, Path(str(value)).stem)
        else:
            yield _word(key, value)


def _word(key: str, value: Any) -> str:
    return f"{_fit(key)}-{_value(value)}"


def _value(value: Any) -> str:
    """A value as a word: numbers and short texts as they are, lists of them joined, all else as a digest."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list) and value and all(isinstance(one, str | int | float) for one in value):
        return "+".join(map(_value, value))
    if isinstance(value, str | int | float):
        try:
            return f"{float(value):.12g}"
        except (ValueError, OverflowError):
            text = str(value)
            return _fit(Path(text).name if text.startswith(("/", ".", "~")) else text) or _digest(value)
    return _digest(value)


def _digest(value: Any) -> str:
    text = json.dumps(to_plain(value), sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def _fits(letter: str) -> bool:
    return letter.isalnum() or letter in MARKS or unicodedata.category(letter).startswith("M")  # marks on letters of many scripts


def _fit(text: str) -> str:
    """The text with `-` for each letter that a name can't have."""
    return "".join(letter if _fits(letter) else "-" for letter in text)


def find_run(workspace: Workspace, config: Path, overrides: Sequence[Change] = (), name: str = "") -> RunFolder:
    """The folder that a preflight of this config, with the same `--set` and `--name`, has used. Raises OSError."""
    own = config.stem
    if name or not overrides:
        return workspace.run(name or own, own)
    file, _ = read_yaml(config)
    named = workspace.run(default_name(file, overrides) if file else own, own)
    if named.config.exists():
        return named
    begun, _ = read_yaml(workspace.run(own).config)  # by a kit that knew no names
    same = begun is not None and all(lookup(begun.values, change.key) == change.value for change in overrides if change.key not in MAY_CHANGE)
    return workspace.run(own) if same else named
