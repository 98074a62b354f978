"""The files of rows that a config names: where each comes from, where it is trained from, and what its entry takes of it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight.config.settings import Rows
from preflight.config.values import dataset_entries
from preflight.data import folders, formats
from preflight.data.folders import NotLoadedError, UntoldError
from preflight.data.lengths import not_judged
from preflight.data.staging import DataFile
from preflight.findings import Finding
from preflight.machine.workspace import Workspace


def find_data(values: Mapping[str, Any], workspace: Workspace, places: Rows, source: Path | None) -> tuple[tuple[DataFile, ...], list[Finding]]:
    """Each local file that the config's `datasets` and `test_datasets` name, and the test rows beside the first.

    A file in the settings' `folder` is looked for in the Drive folder, any other where its path says; `source` (--data) overrules both.
    What is nowhere else but already staged is its own source. A data set of the hub is left to Axolotl. A folder is read where it is.
    Raises OSError.
    """
    found: list[DataFile] = []
    findings: list[Finding] = []
    named = [str(entry.get("path") or "") for _, entry in dataset_entries(values)]
    paths = {one for one in named if _is_file(one, workspace)}
    for key, entry in dataset_entries(values):
        path = entry.get("path")
        if not isinstance(path, str) or "://" in path:
            continue
        try:
            if path in paths:
                alone = sum(Path(other).name == Path(path).name for other in paths) == 1
                found.append(_of_file(key, entry, workspace, _origins(path, workspace, places, source, alone)))
            else:
                found += _of_folder(key, entry, workspace.local(path))
        except UntoldError as reason:
            findings.append(not_judged(str(reason), f"{key}.path"))
        except NotLoadedError as problem:
            message, fix = f"Axolotl would stop before training: {problem.args[0]}", f"in {key}: {problem.args[1]}"
            findings.append(Finding(code="data.not-loaded", level="error", where=f"{key}.path", message=message, fix=fix))
    if found and places.test_file:
        test = DataFile(source=found[0].source.with_name(places.test_file), staged=found[0].staged.with_name(places.test_file))
        if test.source.exists() and not any(file.staged == test.staged for file in found):
            found.append(test)
    return tuple(found), findings


def _is_file(path: str, workspace: Workspace) -> bool:
    """Whether a path means a file, or nothing that is there and could be a data set of the hub."""
    place = workspace.local(path)
    named = path.endswith(formats.SUFFIXES) or path.startswith((".", "/", "~"))
    return bool(path) and "://" not in path and not _is_folder(place) and (named or place.is_file())


def _is_folder(place: Path) -> bool:
    """Whether a folder is there that holds something."""
    try:
        return place.is_dir() and any(place.iterdir())
    except OSError:  # which is reported when it is read
        return True


def _origins(path: str, workspace: Workspace, places: Rows, source: Path | None, alone: bool) -> list[Path]:
    """Where a file may come from, the likelier first: by as much of its path as is there, and by its mere name where no other has that."""
    if source or Path(path).is_relative_to(places.folder):
        within = Path(path).relative_to(places.folder) if Path(path).is_relative_to(places.folder) else Path(path)
        parts = [part for part in within.parts if part not in ("/", "~", "..")]
        ends = [Path(*parts[first:]) for first in range(len(parts))]
        return [(source or workspace.local(places.drive_folder)) / end for end in ends if alone or len(end.parts) > 1 or len(parts) == 1]
    return [workspace.local(path)]


def _of_file(key: str, entry: Mapping[str, Any], workspace: Workspace, origins: Sequence[Path]) -> DataFile:
    """The one file that an entry names. Raises UntoldError, NotLoadedError."""
    staged = workspace.staged(str(entry["path"]))
    there = next((path for path in origins if path.exists()), staged if staged.exists() else origins[-1])
    cuts = folders.taken(entry, key.partition(".")[0], ["train"], whole=True)
    return DataFile(
        key=f"{key}.path", staged=staged, source=there, kind=formats.format_of(str(staged), entry.get("ds_type")), cuts=cuts, path=str(entry["path"])
    )


def _of_folder(key: str, entry: Mapping[str, Any], folder: Path) -> Iterator[DataFile]:
    """The files of a folder, or those that `data_files` names. Raises UntoldError, NotLoadedError."""
    group, named = key.partition(".")[0], entry.get("data_files")
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    if folder.is_dir() and not named:
        splits = folders.splits_in(folder)
        cuts = folders.taken(entry, group, list(splits), whole=False)
        if len(cuts) != 1 or entry.get("name"):
            raise UntoldError("several splits, or a name, in one entry are not told apart here")
        for path in splits[cuts[0].split]:
            yield DataFile(
                key=f"{key}.path", staged=path, source=path, kind=formats.format_of(path.name), cuts=cuts, changes={f"{key}.path": str(folder)}
            )
        return
    files = [Path(name).absolute() for name in names]
    if (folder.is_dir() and not files) or any("*" in str(path) for path in files):
        raise UntoldError("data_files that are patterns, or a mapping, are not resolved here")
    if not folder.is_dir() and files and all(path.is_file() for path in files):
        what = f"path: {entry['path']} is nothing that is here, so Axolotl asks the hub for a data set of that name, and for data_files in it"
        raise NotLoadedError(what, f"path: {names[0]}, without data_files; one entry for each file")
    if any((folder / name).is_file() and not path.exists() for name, path in zip(names, files, strict=True)):
        what = f"data_files are looked for in the current folder, not in {entry['path']}"
        raise NotLoadedError(what, f"data_files: [{', '.join(str(Path(entry['path'], name)) for name in names)}]")
    cuts = folders.taken(entry, group, ["train"], whole=False) if folder.is_dir() else ()
    kind = formats.format_of(str(entry["path"]), entry.get("ds_type"))
    changes = {f"{key}.path": str(folder), f"{key}.data_files": [str(path) for path in files]}
    for path in files if folder.is_dir() else ():
        yield DataFile(key=f"{key}.path", staged=path, source=path, kind=kind, cuts=cuts, changes=changes)
