"""Where the rows of a config lie on this machine, as a layer of changes."""

import hashlib
from collections.abc import Sequence

from preflight.config.layers import Change
from preflight.data.staging import DataFile, Staged
from preflight.machine.run_folder import RunFolder


def path_changes(files: Sequence[DataFile], staged: Sequence[Staged], run: RunFolder) -> list[Change]:
    """The staged files, and the folder of the prepared rows. That one is named by their content: Axolotl's own cache key holds only
    the path, so new rows at an old path would train on the old."""
    hashes = {record.source: record.sha256 for rows in staged for record in rows.files}
    content = hashlib.sha256("".join(hashes.get(str(file.source), "") for file in files if file.key).encode()).hexdigest()[:16]
    values: dict[str, object] = {}
    for file in files:
        values |= (file.changes or {file.key: str(file.staged)}) if file.key else {}
    values |= {"dataset_prepared_path": str(run.prepared / content)} if hashes else {}
    return [Change(key=key, value=value, layer="preflight") for key, value in values.items()]
