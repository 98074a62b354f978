"""Which rows of a file or a folder an entry of `datasets` takes: its split, as datasets 4.8 finds and cuts it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preflight.data.formats import format_of

WORDS = {"train": "train|training", "validation": "validation|valid|dev|val", "test": "test|testing|eval|evaluation"}
SHARDED = re.compile(r"data/(\w+)-\d{5}-of-\d{5}.*\..*")
ARROW = ("dataset_dict.json", "state.json")  # of what save_to_disk wrote
NO_ROWS = ("README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dummy_data.zip")
CUT = re.compile(r"\s*(\w+(?:\.\w+)*)(?:\[(?:(-?[\d_]+)(%)?)?:(?:(-?[\d_]+)(%)?)?\])?\s*")


class Cut(NamedTuple):
    """A stretch of a split: `train[10:50%]`, say."""

    split: str
    start: int | None = None
    end: int | None = None
    percent: bool = False

    def of(self, rows: int) -> tuple[int, int]:
        """The first row and the one behind the last, of so many."""
        ends = []
        for bound, default in ((self.start, 0), (self.end, rows)):
            place = default if bound is None else round(bound * rows / 100) if self.percent else bound
            ends.append(min(rows, max(0, place + rows if place < 0 else place)))
        return ends[0], max(ends)


def stretches(cuts: Sequence[Cut], before: int, rows: int, total: int) -> list[tuple[int, int]]:
    """The stretches that cuts of `total` rows take of the `rows` of a file that has so many before it."""
    ends = [cut.of(total) for cut in cuts] or [(0, total)]
    found = [(max(0, start - before), min(rows, end - before)) for start, end in ends]
    return [(start, end) for start, end in found if start < end]


class UntoldError(Exception):
    """Why it can't be told here which rows an entry takes, in words."""


class NotLoadedError(Exception):
    """Why Axolotl stops before it has rows, in words; `args[1]` is what mends it."""


def cuts_of(split: Any) -> tuple[Cut, ...]:
    """The stretches that a value of `split` names. Raises UntoldError, NotLoadedError."""
    found = [CUT.fullmatch(part) for part in str(split).split("+")]
    if "(" in str(split):
        raise UntoldError(f"split: {split} rounds in a way that is not known here")
    if not all(found):
        raise NotLoadedError(f"split: {split} is no split that datasets reads", "split: train, or train[:90%]")
    parts = [match.groups() for match in found if match]
    return tuple(Cut(name, _number(start), _number(end), bool(first or last)) for name, start, first, end, last in parts)


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def taken(entry: Mapping[str, Any], group: str, splits: Sequence[str], whole: bool) -> tuple[Cut, ...]:
    """The stretches that an entry of `datasets` or of `test_datasets` (the group) takes of what has these splits; a file is `whole`: it has
    only `train`. Raises UntoldError, NotLoadedError."""
    wanted = "train" if group == "datasets" else "test"
    if not entry.get("split") and not whole:
        if wanted not in splits:
            there = ", ".join(splits)
            raise NotLoadedError(f"it has the splits {there}, and without a split Axolotl takes {wanted}", f"split: {splits[-1]}")
        return (Cut(wanted),)
    cuts = cuts_of(entry.get("split") or "train")
    for cut in cuts:
        if cut.split not in splits:
            what = "a file has the split train and no other" if whole else f"its splits are {', '.join(splits)}"
            raise NotLoadedError(f"split: {entry['split']}: {what}", "delete split" if whole else f"split: {splits[-1]}")
    return cuts


def splits_in(folder: Path) -> dict[str, list[Path]]:
    """The row files of each split of a folder. Raises UntoldError, NotLoadedError, OSError."""
    if any((folder / name).exists() for name in ARROW):
        raise UntoldError(f"{folder} holds rows as save_to_disk writes them")
    if (card := folder / "README.md").is_file() and "configs:" in card.read_text(encoding="utf-8", errors="replace"):
        raise UntoldError(f"{card} says which files are which split")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if not any(part.startswith((".", "__")) for part in name.split("/")) and name.rpartition("/")[2] not in NO_ROWS]
    found = {}
    for how in (_sharded, _by_folder, _by_name, lambda name, words: words == WORDS["train"]):
        found = {split: files for split, words in WORDS.items() if (files := [name for name in names if how(name, words)])}
        if found:
            break
    kinds = {format_of(name) for files in found.values() for name in files}
    if len(kinds) > 1 or any(
        not name.endswith((".jsonl", ".json", ".csv", ".parquet", ".txt", ".arrow")) for files in found.values() for name in files
    ):
        raise UntoldError(f"{folder} holds files of several formats, or of one that is not told by its name")
    if not found:
        raise NotLoadedError(f"{folder} holds no rows", "name a file, or a folder that holds some")
    return {split: [folder / name for name in files] for split, files in found.items()}


def _sharded(name: str, words: str) -> bool:
    match = SHARDED.fullmatch(name)
    return bool(match and match[1] == words.partition("|")[0])


def _by_folder(name: str, words: str) -> bool:
    return any(re.fullmatch(rf"(?:.*[-._ 0-9])?(?:{words})(?:[-._ 0-9].*)?", part) for part in name.split("/")[:-1])


def _by_name(name: str, words: str) -> bool:
    return bool(re.fullmatch(rf"(?:.*[-._ 0-9])?(?:{words})[-._ 0-9].*", name.rpartition("/")[2]))


def role_of(name: str) -> str:
    """The split that a file's name speaks of, or ''."""
    return next((split for split, words in WORDS.items() if _by_name(name, words)), "")
